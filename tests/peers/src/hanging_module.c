/* A PKCS#11 module that is SoftHSM2, but for signing: that hangs as long as a file exists. Both are named
 * by the environment. The list of functions begins as version 2.40 of the standard has it. */

#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

#define FUNCTIONS 68
#define SIGN 43

typedef unsigned long (*sign_function)(unsigned long, unsigned char *, unsigned long, unsigned char *,
                                       unsigned long *);

struct function_list {
    unsigned char major, minor;
    void *functions[FUNCTIONS];
};

static struct function_list list;
static sign_function real_sign;

static unsigned long hanging_sign(unsigned long session, unsigned char *data, unsigned long data_len,
                                  unsigned char *signature, unsigned long *signature_len)
{
    const char *file = getenv("HANG_WHILE");
    while (file && access(file, F_OK) == 0)
        usleep(10000);
    return real_sign(session, data, data_len, signature, signature_len);
}

unsigned long C_GetFunctionList(void **result)
{
    void *module = dlopen(getenv("HANGING_MODULE"), RTLD_NOW | RTLD_LOCAL);
    unsigned long (*real)(struct function_list **) = module ? dlsym(module, "C_GetFunctionList") : NULL;
    struct function_list *from;
    if (!real || real(&from) != 0)
        return 5; /* CKR_GENERAL_ERROR */
    list = *from;
    real_sign = (sign_function)list.functions[SIGN];
    list.functions[SIGN] = (void *)hanging_sign;
    *result = &list;
    return 0;
}
