// SPDX-License-Identifier: MIT OR Apache-2.0
//! DEPOSIT_MEM (58019, 6.5) and WITHDRAW_MEM (58019, 6.6): memory that the guest lends to the SVSM.

use super::list;
use super::vcpu::take_error;
use crate::calls::{Answer, Call, aligned};
use crate::memory::custody::{self, TakeError};
use crate::memory::{Fault, PAGE, Page, PageSize};
use crate::platform::Platform;
use svsm_abi::core_protocol::WithdrawHeader;
use svsm_abi::result::ResultCode;

/// 4K pages that one call takes, at most, but for the last entry.
const LIMIT: usize = 512;

/// Takes the pages of the list at RCX into the pool.
pub(super) fn deposit<P: Platform>(call: &mut Call<'_, P>) -> Answer {
    let (list, entries) = list::read(&call.view, call.registers.rcx, call.scratch)?;
    let all = entries.len();
    // What this call works on: entries that are well formed, up to the limit.
    let mut bad = None;
    let mut pages = 0;
    let mut count = 0;
    for &entry in entries.iter() {
        if pages >= LIMIT {
            break;
        }
        match entry_page(entry) {
            Ok(page) => {
                pages += if page.size() == PageSize::Size2M {
                    512
                } else {
                    1
                }
            }
            Err(code) => {
                bad = Some(code);
                break;
            }
        }
        count += 1;
    }
    let machine = call.machine;
    let (done, result) = custody::deposit(
        call.platform,
        &machine.tracker,
        machine.marks,
        machine.pool,
        &entries[..count],
        |page| !machine.vcpus.is_calling_area(page),
        |entry| entry_page(entry).ok(),
    );
    call.update_mem_available();
    list.advance(&call.view, done)?;
    match (result, bad) {
        // A list that names a page twice finds it busy; the next call says what it is.
        (Err(TakeError::Busy), _) if done != 0 => Err(ResultCode::INCOMPLETE),
        (Err(error), _) => Err(take_error(error)),
        (Ok(()), Some(code)) => Err(code),
        (Ok(()), None) if done != all => Err(ResultCode::INCOMPLETE),
        (Ok(()), None) => Ok(ResultCode::SUCCESS),
    }
}

/// The page that an entry names; bits 11:2 are reserved.
fn entry_page(entry: u64) -> Result<Page, ResultCode> {
    if entry & 0xFFC != 0 {
        return Err(ResultCode::INVALID_PARAMETER);
    }
    list::page(entry)
}

/// Gives free pages of the guest's back and writes their addresses to the list at RCX.
pub(super) fn withdraw<P: Platform>(call: &mut Call<'_, P>) -> Answer {
    let gpa = aligned(call.registers.rcx, 8)?;
    let room = (PAGE as u64 - gpa % PAGE as u64) / 8 - 1;
    if room == 0 {
        return Err(ResultCode::INVALID_PARAMETER);
    }
    // Before a page leaves, since the guest would not learn of it otherwise.
    call.view.write_value(gpa, &WithdrawHeader::default())?;
    let written = give_back(call, gpa, room);
    call.update_mem_available();
    let entries = written?;
    call.view.write_value(
        gpa,
        &WithdrawHeader {
            entries,
            ..WithdrawHeader::default()
        },
    )?;
    Ok(ResultCode::SUCCESS)
}

/// Gives back up to `room` pages and writes their addresses behind the header at `gpa`; how many there are.
/// A guest that takes the list away meanwhile has its pages, if not their addresses.
fn give_back<P: Platform>(call: &Call<'_, P>, gpa: u64, room: u64) -> Result<u16, Fault> {
    let machine = call.machine;
    let mut entries = 0;
    while u64::from(entries) < room {
        let Some(frame) = custody::withdraw(call.platform, &machine.tracker, machine.pool) else {
            break;
        };
        entries += 1;
        call.view
            .write_value(gpa + u64::from(entries) * 8, &frame.gpa())?;
    }
    Ok(entries)
}
