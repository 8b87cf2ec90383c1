/* The fake kernel's init.h: sections and messages mean nothing here. */
#define __init
#define __exit
#define pr_info(...) ((void)0)
