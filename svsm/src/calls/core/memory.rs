// SPDX-License-Identifier: MIT OR Apache-2.0
//! DEPOSIT_MEM (58019, 6.5) and WITHDRAW_MEM (58019, 6.6): memory that the guest lends to the SVSM.

use super::list;
use super::vcpu::take_error;
use crate::calls::{Answer, Call, aligned};
use crate::machine::Machine;
use crate::memory::custody::{self, Loan};
use crate::memory::{PAGE, Page, PageSize};
use crate::platform::Platform;
use svsm_abi::core_protocol::WithdrawHeader;
use svsm_abi::result::ResultCode;

/// 4K pages that one call takes, at most, but for the last entry.
const LIMIT: usize = 512;

/// Takes the pages of the list at RCX into the pool.
pub(super) fn deposit<P: Platform>(call: &mut Call<'_, P>) -> Answer {
    let (list, entries) = list::read(&call.view, call.registers.rcx, call.scratch)?;
    let machine = call.machine;
    let (tracker, pool) = (&machine.tracker, machine.pool);
    let mut loan = Loan::new(call.platform, tracker, machine.marks, pool, entries);
    let (mut done, mut pages) = (0, 0);
    let mut answer = Ok(ResultCode::SUCCESS);
    while let Some(entry) = loan.next_entry() {
        if pages >= LIMIT {
            answer = Err(ResultCode::INCOMPLETE);
            break;
        }
        match lend(machine, &mut loan, entry) {
            Ok(more) => pages += more,
            // A list that names a page twice finds it busy; the next call says what it is.
            Err(ResultCode::BUSY) if done != 0 => {
                answer = Err(ResultCode::INCOMPLETE);
                break;
            }
            Err(code) => {
                answer = Err(code);
                break;
            }
        }
        done += 1;
    }
    // The pages are the pool's before the guest is told so.
    drop(loan);
    call.tell_mem_available();
    list.advance(&call.view, done)?;
    answer
}

/// Takes the page that an entry names; how many of 4K it is.
fn lend<P: Platform>(
    machine: &Machine<'_>,
    loan: &mut Loan<'_, '_, P>,
    entry: u64,
) -> Result<usize, ResultCode> {
    let page = entry_page(entry)?;
    if machine.vcpus.is_calling_area(page) {
        return Err(ResultCode::INVALID_ADDRESS);
    }
    loan.take(page).map_err(take_error)?;
    Ok(match page.size() {
        PageSize::Size4K => 1,
        PageSize::Size2M => 512,
    })
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
    call.tell_mem_available();
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
///
/// A page that can't go back now stays the SVSM's, and `mem_available` says that there is one. Where it is the first
/// one, the call is to be made again.
fn give_back<P: Platform>(call: &Call<'_, P>, gpa: u64, room: u64) -> Result<u16, ResultCode> {
    let machine = call.machine;
    let mut entries = 0;
    while u64::from(entries) < room {
        match custody::withdraw(call.platform, &machine.tracker, machine.pool) {
            Ok(Some(frame)) => {
                entries += 1;
                call.view
                    .write_value(gpa + u64::from(entries) * 8, &frame.gpa())?;
            }
            Ok(None) => break,
            Err(_) if entries == 0 => return Err(ResultCode::BUSY),
            Err(_) => break,
        }
    }
    Ok(entries)
}
