// SPDX-License-Identifier: MIT OR Apache-2.0
//! From QEMU's entry to Rust: 32-bit PVH entry of the first processor, real-mode entry of the
//! others, both straight to 64-bit mode with five-level paging.
//!
//! Paging is the identity over [`IDENTITY_END`] bytes in 1 GiB pages: host-physical addresses are
//! pointers. Five levels, because nested tables use the mode of the host's CR4, and only with
//! five of them does a nested table reach bit 51, the C-bit.

use core::arch::global_asm;

/// End (exclusive) of the identity mapping, in bytes.
pub(crate) const IDENTITY_END: u64 = (TABLES as u64) << 39;
/// Tables of 1 GiB pages. Firmware puts 64-bit BARs below bit 46.
const TABLES: u32 = 128;
/// Where the real-mode code of the application processors is copied to; below 1 MiB, page aligned.
pub(crate) const TRAMPOLINE: u64 = 0x8000;

/// CR4 of the emulator: PAE, OSFXSR, OSXMMEXCPT, LA57.
const CR4: u32 = (1 << 5) | (1 << 9) | (1 << 10) | (1 << 12);
/// EFER of the emulator: LME, NXE, SVME.
const EFER: u32 = (1 << 8) | (1 << 11) | (1 << 12);
/// CR0 of the emulator: PG, WP, NE, ET, MP, PE.
const CR0: u32 = (1 << 31) | (1 << 16) | (1 << 5) | (1 << 4) | (1 << 1) | 1;

global_asm!(
    // The note by which QEMU finds the entry: owner "Xen", type 18 (XEN_ELFNOTE_PHYS32_ENTRY).
    r#"
    .section .note.Xen, "a", @note
    .balign 4
    .long 4
    .long 8
    .long 18
    .asciz "Xen"
    .quad pvh_start

    .section .bss.boot, "aw", @nobits
    .balign 4096
boot_pml5:
    .skip 4096
boot_pml4:
    .skip 4096
boot_pdpt:
    .skip 4096 * {tables}
boot_stack:
    .skip 65536
boot_stack_top:

    .section .data.boot, "aw"
    .balign 8
boot_gdt:
    .quad 0
    .quad 0x00AF9B000000FFFF
    .quad 0x00CF93000000FFFF
boot_gdt_end:
boot_gdtr:
    .short boot_gdt_end - boot_gdt - 1
    .quad boot_gdt
    .global boot_start_info
boot_start_info:
    .quad 0
    .global boot_ap_stack
boot_ap_stack:
    .quad 0
    .global boot_ap_argument
boot_ap_argument:
    .quad 0

    .section .boot, "ax"
    .code32
    .global pvh_start
pvh_start:
    cli
    cld
    mov esp, OFFSET boot_stack_top
    mov [boot_start_info], ebx

    // What the emulator can't do without: five-level paging (7.0 ECX 16), SVM (80000001 ECX 2),
    // 1 GiB pages (80000001 EDX 26).
    xor eax, eax
    cpuid
    mov esi, OFFSET boot_no_la57
    cmp eax, 7
    jb boot_refuse
    mov eax, 7
    xor ecx, ecx
    cpuid
    bt ecx, 16
    jnc boot_refuse
    mov esi, OFFSET boot_no_svm
    mov eax, 0x80000001
    cpuid
    bt ecx, 2
    jnc boot_refuse
    mov esi, OFFSET boot_no_1g
    bt edx, 26
    jnc boot_refuse

    lea eax, [boot_pml4 + 0x27]
    mov [boot_pml5], eax
    lea eax, [boot_pdpt + 0x27]
    mov edi, OFFSET boot_pml4
    mov ecx, {tables}
2:
    mov [edi], eax
    add eax, 4096
    add edi, 8
    loop 2b
    mov edi, OFFSET boot_pdpt
    xor ecx, ecx
3:
    mov eax, ecx
    shl eax, 30
    or eax, 0xE3
    mov [edi], eax
    mov eax, ecx
    shr eax, 2
    mov [edi + 4], eax
    add edi, 8
    inc ecx
    cmp ecx, {tables} * 512
    jb 3b

    mov eax, {cr4}
    mov cr4, eax
    mov eax, OFFSET boot_pml5
    mov cr3, eax
    mov ecx, 0xC0000080
    mov eax, {efer}
    xor edx, edx
    wrmsr
    mov eax, {cr0}
    mov cr0, eax
    lgdt [boot_gdtr]
    push 8
    mov eax, OFFSET boot_start64
    push eax
    retf

    // ESI: text. To debugcon, then end with RunEnd::BadInput.
boot_refuse:
    mov dx, {log_port}
4:
    lodsb
    test al, al
    jz 5f
    out dx, al
    jmp 4b
5:
    mov al, {bad_input}
    mov dx, {exit_port}
    out dx, al
6:
    hlt
    jmp 6b

    .code64
boot_start64:
    mov ax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax
    xor eax, eax
    mov fs, ax
    mov gs, ax
    mov rsp, OFFSET boot_stack_top
    xor ebp, ebp
    mov edi, [boot_start_info]
    call boot_main
    ud2

    // The application processors' real-mode code, position independent up to the far jump.
    .section .rodata.boot, "a"
boot_no_la57:
    .asciz "E the processor has no five-level paging: start QEMU with -cpu max,+la57,+svm,+npt,phys-bits=52\n"
boot_no_svm:
    .asciz "E the processor has no SVM: start QEMU with -cpu max,+la57,+svm,+npt,phys-bits=52\n"
boot_no_1g:
    .asciz "E the processor has no 1 GiB pages: start QEMU with -cpu max,+la57,+svm,+npt,phys-bits=52\n"
    .balign 16
    .global boot_trampoline
    .global boot_trampoline_end
    .code16
boot_trampoline:
    cli
    cld
    mov ax, cs
    mov ds, ax
    // LGDT with a 32-bit base.
    .byte 0x66, 0x0F, 0x01, 0x16
    .short 6f - boot_trampoline
    mov eax, {cr4}
    mov cr4, eax
    mov eax, OFFSET boot_pml5
    mov cr3, eax
    mov ecx, 0xC0000080
    mov eax, {efer}
    xor edx, edx
    wrmsr
    mov eax, {cr0}
    mov cr0, eax
    // A far jump with a 32-bit offset.
    .byte 0x66, 0xEA
    .long boot_ap_start64
    .short 8
    .balign 8
6:
    .short boot_gdt_end - boot_gdt - 1
    .long boot_gdt
boot_trampoline_end:
    .code64

    .section .boot, "ax"
boot_ap_start64:
    mov ax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax
    xor eax, eax
    mov fs, ax
    mov gs, ax
    mov rsp, [boot_ap_stack]
    mov rdi, [boot_ap_argument]
    xor ebp, ebp
    call boot_ap_main
    ud2
    .text
    "#,
    tables = const TABLES,
    cr4 = const CR4,
    efer = const EFER,
    cr0 = const CR0,
    log_port = const emulator_defs::exit::LOG_PORT,
    exit_port = const emulator_defs::exit::DEBUG_EXIT_PORT,
    bad_input = const emulator_defs::exit::RunEnd::BadInput as u8,
);
