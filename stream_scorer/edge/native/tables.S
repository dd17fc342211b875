/* The table image in the program's read-only memory: `extern const char ss_tables[]`. */
    .section .rodata
    .balign 64
    .globl ss_tables
    .globl ss_tables_end
ss_tables:
    .incbin "tables.bin"
ss_tables_end:
    .byte 0
#if defined(__linux__) && defined(__ELF__)
    .section .note.GNU-stack, "", %progbits
#endif
