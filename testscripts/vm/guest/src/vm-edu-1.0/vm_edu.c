// A driver for qemu's "edu" device, which no driver of Linux wants.
#include <linux/module.h>
#include <linux/pci.h>

static int edu_probe(struct pci_dev *dev, const struct pci_device_id *id)
{
	pci_info(dev, "vm_edu: taken\n");
	return 0;
}

static const struct pci_device_id edu_ids[] = {
	{ PCI_DEVICE(0x1234, 0x11e8) },
	{}
};
MODULE_DEVICE_TABLE(pci, edu_ids);

static struct pci_driver edu_driver = {
	.name = "vm_edu",
	.id_table = edu_ids,
	.probe = edu_probe,
};
module_pci_driver(edu_driver);
MODULE_DESCRIPTION("A driver that takes a device and leaves it alone");
MODULE_LICENSE("GPL");
