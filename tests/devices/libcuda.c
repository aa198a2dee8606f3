/* A CUDA driver that answers as its environment says: FAKE_CUDA is "NAME:major:minor,...", or how it misbehaves. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *told(void) {
    const char *text = getenv("FAKE_CUDA");
    return text == NULL ? "" : text;
}

static int entry(int ordinal, char *name, int *major, int *minor) {
    char copy[512];
    strncpy(copy, told(), sizeof copy - 1);
    copy[sizeof copy - 1] = 0;
    int index = 0;
    for (char *part = strtok(copy, ","); part != NULL; part = strtok(NULL, ","))
        if (index++ == ordinal) return sscanf(part, "%255[^:]:%d:%d", name, major, minor) == 3 ? 0 : 101;
    return 101;
}

int cuInit(unsigned int flags) {
    if (flags != 0) return 1;
    if (strcmp(told(), "hang") == 0) sleep(600);
    if (strcmp(told(), "crash") == 0) raise(SIGSEGV);
    if (strcmp(told(), "chatter") == 0) puts("this driver talks");
    if (strcmp(told(), "no device") == 0) return 100;
    return strcmp(told(), "nameless error") == 0 ? 4242 : 0;
}
int cuDriverGetVersion(int *version) { *version = 13040; return 0; }
int cuDeviceGetCount(int *count) {
    *count = strchr(told(), ':') == NULL ? 0 : 1;
    for (const char *at = told(); *at; at++) *count += *at == ',';
    return 0;
}
int cuDeviceGet(int *device, int ordinal) { *device = 100 + ordinal; return 0; }
int cuDeviceGetName(char *name, int length, int device) {
    char whole[256];
    int major, minor, status = entry(device - 100, whole, &major, &minor);
    snprintf(name, length, "%s", whole);
    return status;
}
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = 85899345920u + (size_t)(device - 100); return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    char name[256];
    int major, minor, status = entry(device - 100, name, &major, &minor);
    *value = attribute == 75 ? major : attribute == 76 ? minor : attribute == 16 ? 132 : -1;
    return status;
}
int cuGetErrorName(int error, const char **name) {
    if (error != 100) return 1;
    *name = "CUDA_ERROR_NO_DEVICE";
    return 0;
}
