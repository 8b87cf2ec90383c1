/* Enough of the kernel's module.h to make a .ko that modinfo can read. */
#ifndef FAKE_MODULE_H
#define FAKE_MODULE_H
#define FAKE_CAT2(a, b) a##b
#define FAKE_CAT(a, b) FAKE_CAT2(a, b)
#define MODULE_INFO(tag, text) \
	static const char FAKE_CAT(fake_info_, __COUNTER__)[] \
	__attribute__((used, section(".modinfo"), aligned(1))) = #tag "=" text
#define MODULE_LICENSE(text) MODULE_INFO(license, text)
#define MODULE_VERSION(text) MODULE_INFO(version, text)
#define MODULE_ALIAS(text) MODULE_INFO(alias, text)
#define MODULE_DESCRIPTION(text) MODULE_INFO(description, text)
#define module_init(f) int init_module(void) { return f(); }
#define module_exit(f) void cleanup_module(void) { f(); }
MODULE_INFO(vermagic, VERMAGIC);
MODULE_INFO(name, KBUILD_MODNAME);
#endif
