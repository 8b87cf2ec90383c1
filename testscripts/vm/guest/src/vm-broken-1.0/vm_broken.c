// A driver that was written for another kernel.
#include <linux/module.h>

static int broken = a_function_that_was_taken_out();

MODULE_LICENSE("GPL");
