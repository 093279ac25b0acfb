// SPDX-License-Identifier: MIT OR Apache-2.0
//! Follows the parameter areas through the file: a parameter may only go into an area that was
//! declared before it, has room for it and was not inserted yet.

use super::{Directive, Place, Problem};

/// The most parameter areas that a file can have.
pub const MAX_PARAMETER_AREAS: usize = 32;

#[derive(Default)]
pub(super) struct Areas {
    areas: [Area; MAX_PARAMETER_AREAS],
    count: usize,
}

#[derive(Default, Clone, Copy)]
struct Area {
    index: u32,
    size: usize,
    inserted: bool,
}

impl Areas {
    /// Checks `directive` against those before it.
    pub(super) fn follow(&mut self, directive: &Directive<'_>) -> Result<(), Problem> {
        match *directive {
            Directive::ParameterArea { index, size, .. } => self.declare(index, size),
            Directive::VpCount(place) | Directive::EnvironmentInfo(place) => self.fits(place, 4),
            Directive::MemoryMap(place) => {
                self.fits(place, size_of::<igvm_defs::IGVM_VHS_MEMORY_MAP_ENTRY>())
            }
            Directive::ParameterInsert { index, .. } => {
                self.find(index)?.inserted = true;
                Ok(())
            }
            Directive::Page(_)
            | Directive::RequiredMemory { .. }
            | Directive::VpContext { .. }
            | Directive::IdBlock(_) => Ok(()),
        }
    }

    fn declare(&mut self, index: u32, size: usize) -> Result<(), Problem> {
        if self.areas[..self.count]
            .iter()
            .any(|area| area.index == index)
        {
            return Err(Problem::Duplicate);
        }
        let slot = self
            .areas
            .get_mut(self.count)
            .ok_or(Problem::TooManyAreas)?;
        *slot = Area {
            index,
            size,
            inserted: false,
        };
        self.count += 1;
        Ok(())
    }

    fn find(&mut self, index: u32) -> Result<&mut Area, Problem> {
        self.areas[..self.count]
            .iter_mut()
            .find(|area| area.index == index && !area.inserted)
            .ok_or(Problem::NoSuchArea)
    }

    fn fits(&mut self, place: Place, bytes: usize) -> Result<(), Problem> {
        let size = self.find(place.index)?.size;
        match place.offset.checked_add(bytes) {
            Some(end) if end <= size => Ok(()),
            _ => Err(Problem::AreaBounds),
        }
    }
}
