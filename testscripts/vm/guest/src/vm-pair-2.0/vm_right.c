// One of two modules that only fit together in the same version.
#include <linux/module.h>

MODULE_DESCRIPTION("The right one of a pair");
MODULE_VERSION("2.0");
MODULE_LICENSE("GPL");
