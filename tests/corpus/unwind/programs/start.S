# The outermost frame, as C libraries write it; with -DBARE as musl does, which
# says nothing about its assembler.
        .text
        .globl _start
        .type _start, @function
_start:
#ifndef BARE
        .cfi_startproc
        .cfi_undefined %rip
#endif
        xor     %ebp, %ebp
        call    program
        mov     $60, %eax
        xor     %edi, %edi
        syscall
        hlt
#ifndef BARE
        .cfi_endproc
#endif
        .size _start, . - _start

# What signal handlers return to; debuggers know it by this name. As glibc's, its description starts one byte
# early, since callers are looked up by the byte before their address.
#ifndef BARE
        .cfi_startproc simple
        .cfi_signal_frame
        .cfi_escape 0x0f, 4, 0x77, 0xa0, 0x01, 0x06     # CFA: *(rsp + 160)
        .cfi_escape 0x10, 6, 3, 0x77, 0xf8, 0x00        # rbp at rsp + 120
        .cfi_escape 0x10, 16, 3, 0x77, 0xa8, 0x01       # rip at rsp + 168
#endif
        nop
        .globl __restore_rt
        .type __restore_rt, @function
__restore_rt:
        mov     $15, %rax
        syscall
#ifndef BARE
        .cfi_endproc
#endif
        .size __restore_rt, . - __restore_rt

# A function with a frame pointer that says nothing, as JIT compilers' do:
# with_frame_pointer(f) calls f().
        .p2align 4
        .fill 16, 1, 0xcc
        .globl with_frame_pointer
        .type with_frame_pointer, @function
with_frame_pointer:
        push    %rbp
        mov     %rsp, %rbp
        sub     $32, %rsp
        call    *%rdi
        leave
        ret
        .size with_frame_pointer, . - with_frame_pointer
        .fill 16, 1, 0xcc
        .section .note.GNU-stack, "", @progbits
