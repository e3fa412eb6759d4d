/* Values with spaces, semicolons, newlines and every byte; the longest key and value; a put that replaces. */
#include "conform2.h"

static const char *odd[] = {
    "", " ", "a b", "ends in a space ", ";", "cmd=abort;value=1;", "a\nb\n", "=", "a=b;c=d", "\"quoted\"", "\t\r\x01\xff",
};
enum { ODD = sizeof odd / sizeof odd[0] };

static void put_all(void)
{
    char key[PMI2_MAX_KEYLEN], bytes[256];
    for (int index = 0; index < ODD; index++) {
        snprintf(key, sizeof key, "odd %d;of=%d", index, rank);
        NEED(PMI2_KVS_Put(key, "replaced") == PMI2_SUCCESS);
        NEED(PMI2_KVS_Put(key, odd[index]) == PMI2_SUCCESS);
    }
    for (int byte = 1; byte < 256; byte++)
        bytes[byte - 1] = (char)byte;
    bytes[255] = '\0';
    snprintf(key, sizeof key, "bytes-%d", rank);
    NEED(PMI2_KVS_Put(key, bytes) == PMI2_SUCCESS);
}

static void check_all(int other)
{
    char key[PMI2_MAX_KEYLEN], value[VALUE_ROOM];
    int length;
    for (int index = 0; index < ODD; index++) {
        snprintf(key, sizeof key, "odd %d;of=%d", index, other);
        NEED(PMI2_KVS_Get("", other, key, value, VALUE_ROOM, &length) == PMI2_SUCCESS);
        NEED(strcmp(value, odd[index]) == 0 && length == (int)strlen(odd[index]));
    }
    snprintf(key, sizeof key, "bytes-%d", other);
    NEED(PMI2_KVS_Get(NULL, other, key, value, VALUE_ROOM, &length) == PMI2_SUCCESS && length == 255);
    for (int byte = 1; byte < 256; byte++)
        NEED(value[byte - 1] == (char)byte);
}

static void check_limits(void)
{
    char value[VALUE_ROOM];
    int length;
    char *key = letters(PMI2_MAX_KEYLEN), *long_value = letters(PMI2_MAX_VALLEN);
    key[0] = (char)('a' + rank % 26);
    NEED(PMI2_KVS_Put(key, long_value) == PMI2_SUCCESS);
    NEED(PMI2_KVS_Get(NULL, rank, key, value, PMI2_MAX_VALLEN + 1, &length) == PMI2_SUCCESS);
    NEED(length == PMI2_MAX_VALLEN && strcmp(value, long_value) == 0);
    NEED(PMI2_KVS_Get(NULL, rank, key, value, PMI2_MAX_VALLEN, &length) == PMI2_SUCCESS);
    NEED(length == -PMI2_MAX_VALLEN && strlen(value) == PMI2_MAX_VALLEN - 1);
    NEED(PMI2_KVS_Put(letters(PMI2_MAX_KEYLEN + 1), "value") == PMI2_ERR_INVALID_KEY);
    NEED(PMI2_KVS_Put("", "value") == PMI2_ERR_INVALID_KEY);
    NEED(PMI2_KVS_Put("key", letters(PMI2_MAX_VALLEN + 1)) == PMI2_ERR_INVALID_VAL);
}

int main(void)
{
    join();
    put_all();
    check_all(rank);
    check_limits();
    NEED(PMI2_KVS_Fence() == PMI2_SUCCESS);
    for (int other = 0; other < size; other++)
        check_all(other);
    NEED(PMI2_Finalize() == PMI2_SUCCESS);
    printf("rank %d of %d: all bytes came back\n", rank, size);
    return 0;
}
