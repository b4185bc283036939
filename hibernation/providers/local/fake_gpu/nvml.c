/* A fake libnvidia-ml.so.1: the calls Dumont's agent makes, answered from the text file named by DUMONT_FAKE_GPU,
 * which is read anew at every call. The file's format is described in gpu_file.py; both must agree. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, NOT_LOADED = 9, UNKNOWN = 999 };
enum { MAX_GPUS = 64, MAX_PROCESSES = 64, MAX_LINE = 4096, UTIL_FAILS = -1, UTIL_MIG = -2 };

typedef struct { unsigned pid; unsigned long long memory; } process_t;

typedef struct {
    char name[96];
    unsigned long long memory_total, memory_used;
    int utilization;
    unsigned process_count;
    process_t processes[MAX_PROCESSES];
} gpu_t;

typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2_t;
typedef struct { unsigned gpu, memory; } utilization_t;
typedef struct { unsigned pid; unsigned long long memory; unsigned gpu_instance, compute_instance; } process_info_t;

static char *trimmed(char *text) {
    while (*text == ' ' || *text == '\t') text++;
    char *end = text + strlen(text);
    while (end > text && strchr(" \t\r\n", end[-1])) *--end = 0;
    return text;
}

static int number(const char *text, unsigned long long *value) {
    char *end;
    if (*text < '0' || *text > '9') return 0;
    *value = strtoull(text, &end, 10);
    return *end == 0;
}

static int parse_processes(char *text, gpu_t *gpu) {
    char *rest = NULL;
    for (char *pair = strtok_r(text, " ", &rest); pair; pair = strtok_r(NULL, " ", &rest)) {
        unsigned long long pid, memory;
        char *colon = strchr(pair, ':');
        if (!colon || gpu->process_count == MAX_PROCESSES) return 0;
        *colon = 0;
        if (!number(pair, &pid) || !number(colon + 1, &memory)) return 0;
        gpu->processes[gpu->process_count++] = (process_t){(unsigned)pid, memory << 20};
    }
    return 1;
}

static int parse_gpu(char *line, gpu_t *gpu) {
    char *fields[5] = {0}, *rest = line;
    for (int i = 0; i < 5 && rest; i++) fields[i] = trimmed(strsep(&rest, ","));
    if (!fields[3] || rest) return 0;
    unsigned long long total, used, percent;
    char *utilization = fields[2], *sign = strchr(utilization, '%');
    if (sign && !sign[1]) *sign = 0, trimmed(utilization);
    memset(gpu, 0, sizeof *gpu);
    snprintf(gpu->name, sizeof gpu->name, "%s", fields[0]);
    if (!number(fields[1], &total) || !number(fields[3], &used)) return 0;
    gpu->memory_total = total << 20, gpu->memory_used = used << 20;
    if (!strcmp(utilization, "?")) gpu->utilization = UTIL_FAILS;
    else if (!strcmp(utilization, "mig")) gpu->utilization = UTIL_MIG;
    else if (number(utilization, &percent)) gpu->utilization = (int)percent;
    else return 0;
    return fields[4] ? parse_processes(fields[4], gpu) : 1;
}

/* Fills gpus and count; returns the code every call fails with, 0 for none. */
static int read_lines(FILE *file, gpu_t *gpus, unsigned *count) {
    char line[MAX_LINE];
    unsigned long long code;
    *count = 0;
    while (fgets(line, sizeof line, file)) {
        char *text = trimmed(line);
        if (!*text || *text == '#') continue;
        if (!*count && !strncmp(text, "error ", 6) && number(text + 6, &code)) return (int)code;
        if (*count == MAX_GPUS || !parse_gpu(text, &gpus[*count])) return NOT_LOADED;
        ++*count;
    }
    return OK;
}

static int read_gpus(gpu_t *gpus, unsigned *count) {
    const char *path = getenv("DUMONT_FAKE_GPU");
    FILE *file = path ? fopen(path, "re") : NULL;
    if (!file) return NOT_LOADED;
    int code = read_lines(file, gpus, count);
    fclose(file);
    return code;
}

/* A handle is the GPU's index plus one, so that none is NULL. */
static int read_gpu(void *handle, gpu_t *gpu) {
    gpu_t gpus[MAX_GPUS];
    unsigned count, index = (unsigned)(size_t)handle - 1;
    int code = read_gpus(gpus, &count);
    if (code) return code;
    if (index >= count) return INVALID_ARGUMENT;
    *gpu = gpus[index];
    return OK;
}

int nvmlInit_v2(void) {
    gpu_t gpus[MAX_GPUS];
    unsigned count;
    return read_gpus(gpus, &count);
}
int nvmlInit(void) { return nvmlInit_v2(); }
int nvmlInitWithFlags(unsigned flags) { (void)flags; return nvmlInit_v2(); }
int nvmlShutdown(void) { return OK; }

const char *nvmlErrorString(int code) {
    switch (code) {
    case OK: return "Success";
    case NOT_SUPPORTED: return "Not Supported";
    case NOT_LOADED: return "Driver Not Loaded";
    case 15: return "GPU is lost";
    default: return "Unknown Error";
    }
}

static int say(const char *text, char *buffer, unsigned length) {
    if (strlen(text) >= length) return INSUFFICIENT_SIZE;
    strcpy(buffer, text);
    return OK;
}

int nvmlSystemGetDriverVersion(char *version, unsigned length) { return say("550.54.15", version, length); }
int nvmlSystemGetNVMLVersion(char *version, unsigned length) { return say("12.550.54.15", version, length); }

int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    *version = 12040;
    return OK;
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    gpu_t gpus[MAX_GPUS];
    return read_gpus(gpus, count);
}
int nvmlDeviceGetCount(unsigned *count) { return nvmlDeviceGetCount_v2(count); }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    gpu_t gpu;
    *handle = (void *)(size_t)(index + 1);
    return read_gpu(*handle, &gpu);
}
int nvmlDeviceGetHandleByIndex(unsigned index, void **handle) { return nvmlDeviceGetHandleByIndex_v2(index, handle); }

int nvmlDeviceGetName(void *handle, char *name, unsigned length) {
    gpu_t gpu;
    int code = read_gpu(handle, &gpu);
    return code ? code : say(gpu.name, name, length);
}

int nvmlDeviceGetUUID(void *handle, char *uuid, unsigned length) {
    gpu_t gpu;
    char text[32];
    int code = read_gpu(handle, &gpu);
    snprintf(text, sizeof text, "GPU-fake-%zu", (size_t)handle - 1);
    return code ? code : say(text, uuid, length);
}

int nvmlDeviceGetUtilizationRates(void *handle, utilization_t *rates) {
    gpu_t gpu;
    int code = read_gpu(handle, &gpu);
    if (code) return code;
    if (gpu.utilization == UTIL_MIG) return NOT_SUPPORTED;
    if (gpu.utilization == UTIL_FAILS) return UNKNOWN;
    rates->gpu = rates->memory = (unsigned)gpu.utilization;
    return OK;
}

int nvmlDeviceGetMigMode(void *handle, unsigned *current, unsigned *pending) {
    gpu_t gpu;
    int code = read_gpu(handle, &gpu);
    if (code) return code;
    *current = *pending = gpu.utilization == UTIL_MIG;
    return OK;
}

int nvmlDeviceGetMemoryInfo(void *handle, memory_t *memory) {
    gpu_t gpu;
    int code = read_gpu(handle, &gpu);
    if (code) return code;
    *memory = (memory_t){gpu.memory_total, gpu.memory_total - gpu.memory_used, gpu.memory_used};
    return OK;
}

int nvmlDeviceGetMemoryInfo_v2(void *handle, memory_v2_t *memory) {
    gpu_t gpu;
    int code = read_gpu(handle, &gpu);
    if (code) return code;
    memory->total = gpu.memory_total, memory->used = gpu.memory_used, memory->reserved = 0;
    memory->free = gpu.memory_total - gpu.memory_used;
    return OK;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, process_info_t *infos) {
    gpu_t gpu;
    int code = read_gpu(handle, &gpu);
    if (code) return code;
    unsigned room = *count;
    *count = gpu.process_count;
    if (room < gpu.process_count) return INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < gpu.process_count; i++)
        infos[i] = (process_info_t){gpu.processes[i].pid, gpu.processes[i].memory, ~0u, ~0u};
    return OK;
}
int nvmlDeviceGetComputeRunningProcesses_v2(void *handle, unsigned *count, process_info_t *infos) {
    return nvmlDeviceGetComputeRunningProcesses_v3(handle, count, infos);
}
