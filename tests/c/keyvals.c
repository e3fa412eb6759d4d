/* Command lines as pairs. Works at any time: nothing is initialised here. */
#include "conform.h"

static void print_pairs(const PMI_keyval_t *pairs, int size)
{
    for (int index = 0; index < size; index++)
        printf("  [%s] = [%s]\n", pairs[index].key ? pairs[index].key : "(null)",
               pairs[index].val ? pairs[index].val : "(null)");
}

static void parse(const char *title, int count, char *args[])
{
    PMI_keyval_t *pairs = NULL;
    int parsed = -1, size = -1;
    int code = PMI_Parse_option(count, args, &parsed, &pairs, &size);
    printf("parse %s: code %d, parsed %d, size %d\n", title, code, parsed, size);
    print_pairs(pairs, size);
    SHOW(PMI_Free_keyvals(pairs, size));
}

static void convert(const char *title, int count, char *args[])
{
    PMI_keyval_t *pairs = NULL;
    int left = count, size = -1;
    int code = PMI_Args_to_keyval(&left, (char *(*)[])args, &pairs, &size);
    printf("convert %s: code %d, size %d, argc %d, argv kept %d\n", title, code, size, left,
           count == 0 || args[0] != NULL);
    if (code == PMI_SUCCESS) {
        print_pairs(pairs, size);
        SHOW(PMI_Free_keyvals(pairs, size));
    }
}

#define PARSE(...)                                                     \
    do {                                                               \
        char *args[] = {__VA_ARGS__, NULL};                            \
        parse(#__VA_ARGS__, (int)(sizeof args / sizeof *args) - 1, args); \
    } while (0)

#define CONVERT(...)                                                     \
    do {                                                                 \
        char *args[] = {__VA_ARGS__, NULL};                              \
        convert(#__VA_ARGS__, (int)(sizeof args / sizeof *args) - 1, args); \
    } while (0)

int main(void)
{
    char *none[] = {NULL}, *one[] = {"PMI_a=b", NULL}, text[200];
    PMI_keyval_t *pairs;
    int count = 1, size, parsed, length = 1;

    PARSE("PMI_a=b");
    PARSE("PMI_a=1", "PMI_b=2");
    PARSE("PMI_a=");
    PARSE("  PMI_a=1");
    PARSE("PMI_a=1", "PMI_b=2", "rest");
    PARSE("rest", "PMI_a=1");
    PARSE("PMI_=3");
    PARSE("a=b");
    PARSE("PMI_a=x y");
    parse("nothing", 0, none);
    SHOW(PMI_Parse_option(1, one, NULL, &pairs, &size));
    SHOW(PMI_Parse_option(1, one, &parsed, NULL, &size));
    SHOW(PMI_Parse_option(1, one, &parsed, &pairs, NULL));

    CONVERT("prog");
    CONVERT("prog", "-a", "b", "-c");
    CONVERT("-a", "b");
    CONVERT("-n", "4", "-v", "-x", "y");
    CONVERT("-");
    CONVERT("prog", "stray");
    CONVERT("prog", "-a", "b", "stray");
    convert("nothing", 0, none);
    SHOW(PMI_Args_to_keyval(NULL, (char *(*)[])one, &pairs, &size));
    SHOW(PMI_Args_to_keyval(&count, NULL, &pairs, &size));
    SHOW(PMI_Args_to_keyval(&count, (char *(*)[])one, NULL, &size));
    SHOW(PMI_Args_to_keyval(&count, (char *(*)[])one, &pairs, NULL));

    SHOW(PMI_Free_keyvals(NULL, 0));
    SHOW(PMI_Free_keyvals(NULL, 1));
    SHOW(PMI_Free_keyvals(NULL, -1));

    SHOW(PMI_Get_options(text, &length));
    printf("of the text: '%s'\n", text);
    length = sizeof text;
    SHOW(PMI_Get_options(text, &length));
    printf("there is a text: %d\n", strlen(text) > 10);
    SHOW(PMI_Get_options(NULL, &length));
    SHOW(PMI_Get_options(text, NULL));
    return 0;
}
