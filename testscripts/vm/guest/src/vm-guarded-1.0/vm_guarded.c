// A driver that one of the kernels does not take.
#include <linux/module.h>

#ifdef BROKEN
#error this kernel has no interface for it
#endif

MODULE_LICENSE("GPL");
