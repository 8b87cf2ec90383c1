// A module that nothing asks for.
#include <linux/module.h>

MODULE_DESCRIPTION("A module that nothing asks for");
MODULE_LICENSE("GPL");
