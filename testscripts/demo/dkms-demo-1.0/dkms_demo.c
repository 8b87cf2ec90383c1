// A driver that drives nothing, for "make demo".
#include <linux/init.h>
#include <linux/module.h>

static int __init demo_start(void)
{
	pr_info("dkms_demo: loaded\n");
	return 0;
}

static void __exit demo_stop(void)
{
}

module_init(demo_start);
module_exit(demo_stop);
MODULE_DESCRIPTION("A driver that drives nothing");
MODULE_VERSION("1.0");
MODULE_LICENSE("GPL");
