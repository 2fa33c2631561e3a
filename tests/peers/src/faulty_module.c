/* A PKCS#11 module that is SoftHSM2, but for signing and decrypting, which hang as long as a file exists, for
 * logging in, which adds a byte to a file each time, and for what it does wrong while other files exist: it
 * answers each login with the number in a file, and is of another maker then, takes no private keys, changes no attributes, can't make key
 * pairs, gives bent signatures, loses a session once, can't be initialised, says that one more wrong PIN locks the
 * token, destroys objects and says that the token was taken out, is slow in signing and making key pairs, or holds
 * the next AES key back. All files are named by the environment. The list of functions begins as version 2.40 of the
 * standard has it. */

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FUNCTIONS 68
#define INITIALIZE 0
#define INFO 2
#define TOKEN_INFO 6
#define LOGIN 18
#define CREATE 20
#define DESTROY 22
#define CHANGE 25
#define DECRYPT 34
#define SIGN 43
#define MAKE_KEY 58
#define MAKE_PAIR 59

typedef unsigned long (*login_function)(unsigned long, unsigned long, unsigned char *, unsigned long);
typedef unsigned long (*initialize_function)(void *);
typedef unsigned long (*info_function)(void *);
typedef unsigned long (*token_info_function)(unsigned long, void *);
typedef unsigned long (*destroy_function)(unsigned long, unsigned long);
typedef unsigned long (*data_function)(unsigned long, unsigned char *, unsigned long, unsigned char *,
                                       unsigned long *);

struct attribute {
    unsigned long type;
    void *value;
    unsigned long len;
};

typedef unsigned long (*create_function)(unsigned long, struct attribute *, unsigned long, unsigned long *);
typedef unsigned long (*change_function)(unsigned long, unsigned long, struct attribute *, unsigned long);

typedef unsigned long (*key_function)(unsigned long, void *, void *, unsigned long, unsigned long *);

typedef unsigned long (*pair_function)(unsigned long, void *, void *, unsigned long, void *, unsigned long,
                                       unsigned long *, unsigned long *);

struct function_list {
    unsigned char major, minor;
    void *functions[FUNCTIONS];
};

static struct function_list list;
static initialize_function real_initialize;
static info_function real_info;
static token_info_function real_token_info;
static login_function real_login;
static destroy_function real_destroy;
static create_function real_create;
static change_function real_change;
static data_function real_decrypt, real_sign;
static key_function real_make_key;
static pair_function real_make_pair;

static int is_there(const char *variable)
{
    const char *file = getenv(variable);
    return file && access(file, F_OK) == 0;
}

static void hang(void)
{
    while (is_there("HANG_WHILE"))
        usleep(10000);
}

static unsigned long failing_initialize(void *arguments)
{
    if (is_there("NOT_INITIALIZED_WHILE"))
        return 5; /* CKR_GENERAL_ERROR */
    return real_initialize(arguments);
}

static unsigned long another_makers_info(void *info)
{
    unsigned long result = real_info(info);
    if (result == 0 && getenv("LOGIN_ANSWERS"))
        memset((char *)info + 2, 'x', 32); /* The manufacturer, after the version. */
    return result;
}

static unsigned long alarming_token_info(unsigned long slot, void *info)
{
    unsigned long result = real_token_info(slot, info);
    /* After the label, manufacturer, model and serial number. */
    unsigned long *flags = (unsigned long *)((char *)info + 96);
    if (result == 0 && is_there("FINAL_TRY_WHILE"))
        *flags |= 0x20000; /* CKF_USER_PIN_FINAL_TRY */
    return result;
}

static unsigned long silent_destroy(unsigned long session, unsigned long object)
{
    unsigned long result = real_destroy(session, object);
    if (result == 0 && is_there("DESTROYED_IN_SILENCE_WHILE"))
        return 0x32; /* CKR_DEVICE_REMOVED */
    return result;
}

static unsigned long counted_login(unsigned long session, unsigned long user, unsigned char *pin,
                                   unsigned long pin_len)
{
    const char *name = getenv("COUNT_LOGINS");
    FILE *file = name ? fopen(name, "a") : NULL;
    if (file) {
        fputc('x', file);
        fclose(file);
    }
    name = getenv("LOGIN_ANSWERS");
    file = name ? fopen(name, "r") : NULL;
    if (file) {
        unsigned long answer = 5;
        if (fscanf(file, "%lx", &answer) != 1)
            answer = 5; /* CKR_GENERAL_ERROR */
        fclose(file);
        return answer;
    }
    return real_login(session, user, pin, pin_len);
}

/* Who takes the file "next" away goes on once "held" is gone, and leaves "done". */
static unsigned long held_make_key(unsigned long session, void *mechanism, void *attributes, unsigned long count,
                                   unsigned long *key)
{
    const char *folder = getenv("HOLD_NEXT_IN");
    char next[4096], held[4096], done[4096];
    snprintf(next, sizeof next, "%s/next", folder ? folder : "");
    snprintf(held, sizeof held, "%s/held", folder ? folder : "");
    snprintf(done, sizeof done, "%s/done", folder ? folder : "");
    if (!folder || rename(next, held) != 0)
        return real_make_key(session, mechanism, attributes, count, key);
    while (access(held, F_OK) == 0)
        usleep(10000);
    unsigned long result = real_make_key(session, mechanism, attributes, count, key);
    FILE *file = fopen(done, "w");
    if (file)
        fclose(file);
    return result;
}

static unsigned long choosy_make_pair(unsigned long session, void *mechanism, void *public_attributes,
                                      unsigned long public_count, void *private_attributes,
                                      unsigned long private_count, unsigned long *public, unsigned long *private)
{
    if (is_there("NO_KEY_PAIRS_WHILE"))
        return 0x70; /* CKR_MECHANISM_INVALID */
    if (is_there("SLOW_WHILE"))
        usleep(200000);
    return real_make_pair(session, mechanism, public_attributes, public_count, private_attributes, private_count,
                          public, private);
}

static unsigned long choosy_create(unsigned long session, struct attribute *attributes, unsigned long count,
                                   unsigned long *object)
{
    for (unsigned long i = 0; i < count; i++)
        if (attributes[i].type == 0 /* CKA_CLASS */ && *(unsigned long *)attributes[i].value == 3 /* private */
            && is_there("NO_PRIVATE_KEYS_WHILE"))
            return 0xd1; /* CKR_TEMPLATE_INCONSISTENT */
    return real_create(session, attributes, count, object);
}

static unsigned long choosy_change(unsigned long session, unsigned long object, struct attribute *attributes,
                                   unsigned long count)
{
    if (is_there("NO_CHANGES_WHILE"))
        return 0x10; /* CKR_ATTRIBUTE_READ_ONLY */
    return real_change(session, object, attributes, count);
}

static unsigned long hanging_decrypt(unsigned long session, unsigned char *data, unsigned long data_len,
                                     unsigned char *plain, unsigned long *plain_len)
{
    hang();
    return real_decrypt(session, data, data_len, plain, plain_len);
}

static unsigned long hanging_sign(unsigned long session, unsigned char *data, unsigned long data_len,
                                  unsigned char *signature, unsigned long *signature_len)
{
    hang();
    if (is_there("SESSION_LOST_ONCE") && unlink(getenv("SESSION_LOST_ONCE")) == 0)
        return 0xb3; /* CKR_SESSION_HANDLE_INVALID */
    if (is_there("SLOW_WHILE"))
        usleep(5000);
    unsigned long result = real_sign(session, data, data_len, signature, signature_len);
    if (result == 0 && signature && is_there("BEND_WHILE"))
        signature[40] ^= 1;
    return result;
}

unsigned long C_GetFunctionList(void **result)
{
    void *module = dlopen(getenv("FAULTY_MODULE"), RTLD_NOW | RTLD_LOCAL);
    unsigned long (*real)(struct function_list **) = module ? dlsym(module, "C_GetFunctionList") : NULL;
    struct function_list *from;
    if (!real || real(&from) != 0)
        return 5; /* CKR_GENERAL_ERROR */
    list = *from;
    real_initialize = (initialize_function)list.functions[INITIALIZE];
    list.functions[INITIALIZE] = (void *)failing_initialize;
    real_info = (info_function)list.functions[INFO];
    list.functions[INFO] = (void *)another_makers_info;
    real_token_info = (token_info_function)list.functions[TOKEN_INFO];
    list.functions[TOKEN_INFO] = (void *)alarming_token_info;
    real_destroy = (destroy_function)list.functions[DESTROY];
    list.functions[DESTROY] = (void *)silent_destroy;
    real_login = (login_function)list.functions[LOGIN];
    list.functions[LOGIN] = (void *)counted_login;
    real_create = (create_function)list.functions[CREATE];
    list.functions[CREATE] = (void *)choosy_create;
    real_change = (change_function)list.functions[CHANGE];
    list.functions[CHANGE] = (void *)choosy_change;
    real_decrypt = (data_function)list.functions[DECRYPT];
    list.functions[DECRYPT] = (void *)hanging_decrypt;
    real_sign = (data_function)list.functions[SIGN];
    list.functions[SIGN] = (void *)hanging_sign;
    real_make_key = (key_function)list.functions[MAKE_KEY];
    list.functions[MAKE_KEY] = (void *)held_make_key;
    real_make_pair = (pair_function)list.functions[MAKE_PAIR];
    list.functions[MAKE_PAIR] = (void *)choosy_make_pair;
    *result = &list;
    return 0;
}
