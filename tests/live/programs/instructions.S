# All kinds of instructions, each executed by `work(n)` a known number of times: the
# test puts a site on every one of them, and nothing may change.
    .text
    .globl work, work_end
    .type work, @function
work:
    .cfi_startproc
    endbr64
    push %rbx
    .cfi_adjust_cfa_offset 8
    push %r12
    .cfi_adjust_cfa_offset 8
    push %rbp
    .cfi_adjust_cfa_offset 8
    mov %rdi, %r12
    xor %ebx, %ebx
    sub $512, %rsp
    .cfi_adjust_cfa_offset 512
again:
    nop
    .byte 0x66, 0x90
    nopl 0x10(%rax,%rax)
    nopw %cs:0x200(%rax,%rax,1)
    pause
    add %r12, %rbx
    add $-5, %ebx
    addl $0x12345, %ebx
    sub $-128, %rbx
    sub %ebx, %eax
    cmp %rbx, %r12
    setl %al
    movzbl %al, %eax
    add %rax, %rbx
    pushf
    pop %rax
    and $0x8d5, %eax
    add %rax, %rbx
    lea 3(%rbx,%r12,4), %rdx
    lea data(%rip), %rsi
    lea 0x10(,%r12,8), %ecx
    mov (%rsi), %rax
    mov data+8(%rip), %rcx
    xor %rcx, %rax
    add %rax, %rbx
    mov %rbx, 8(%rsp)
    lock xaddq %rbx, data+16(%rip)
    incq data+16(%rip)
    movabs $0x123456789abcdef, %rax
    mov $-7, %rcx
    mov $7, %ecx
    mul %rcx
    add %rax, %rbx
    mov $100, %eax
    cqto
    idiv %rcx
    add %rdx, %rbx
    lea 16(%rsp), %rdi
    lea data(%rip), %rsi
    mov $37, %ecx
    cld
    rep movsb
    mov $5, %ecx
    lea 16(%rsp), %rdi
    mov $3, %al
    repne scasb
    add %rcx, %rbx
    mov $4, %ecx
inner:
    add $1, %rbx
    loop inner
    jrcxz zero
    ud2
zero:
    test %r12, %r12
    js never
    jmp near
never:
    ud2
near:
    .byte 0xe9, 0, 0, 0, 0
    call leaf
    lea leaf(%rip), %rax
    call *%rax
    call *pointer(%rip)
    mov %rsp, %rbp
    lea pointer(%rip), %rdx
    call *(%rdx)
    push $1234
    pop %rcx
    pushq data(%rip)
    popq 24(%rsp)
    push %rsp
    pop %rcx
    lea there(%rip), %rcx
    jmp *%rcx
    ud2
there:
    jmp *target(%rip)
    ud2
arrived:
    mov $39, %eax
    syscall
    test %eax, %eax
    jle never
    movdqu data(%rip), %xmm0
    paddq %xmm0, %xmm0
    movq %xmm0, %rax
    add %rax, %rbx
    bswap %rax
    cmpxchg %rcx, data+24(%rip)
    std
    cld
    cmc
    adc $0, %rbx
    enter $16, $0
    leave
    dec %r12
    jnz again
    mov %rbx, %rax
    add $512, %rsp
    .cfi_adjust_cfa_offset -512
    pop %rbp
    .cfi_adjust_cfa_offset -8
    pop %r12
    .cfi_adjust_cfa_offset -8
    pop %rbx
    .cfi_adjust_cfa_offset -8
    ret
    .cfi_endproc
leaf:
    add $1, %rbx
    repz ret
work_end:
    .size work, .-work

    .data
    .balign 16
data:
    .quad 0x0102030405060708, 0x1112131415161718, 3, 4
    .fill 64, 1, 9
pointer:
    .quad leaf
target:
    .quad arrived
    .section .note.GNU-stack, "", @progbits
