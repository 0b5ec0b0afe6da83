/* SPDX-License-Identifier: Apache-2.0
 * The folder that a model is written into: making it, and never mixing two models in it. */
#include "model_folder.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "complain.h"

char *model_folder_path(const char *folder, const char *name)
{
    char *path = NULL;
    return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : path;
}

/* Whether a name is one that the files of a model have. */
static bool is_model_file(const char *name)
{
    static const char *const names[] = { "config.json", "generation_config.json", "model.safetensors.index.json", "model.safetensors" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) return true;
    int end = 0;
    sscanf(name, "model-%*5[0-9]-of-%*5[0-9].safetensors%n", &end);
    return end > 0 && name[end] == '\0';
}

static void remove_model(const char *folder)
{
    DIR *list = opendir(folder);
    if (!list) return;
    for (struct dirent *entry; (entry = readdir(list));) {
        if (!is_model_file(entry->d_name)) continue;
        char *path = model_folder_path(folder, entry->d_name);
        if (path) unlink(path);
        free(path);
    }
    closedir(list);
}

static int check_empty(const char *folder)
{
    DIR *list = opendir(folder);
    if (!list) return complain_errno("open the folder", folder);
    bool is_empty = true;
    for (struct dirent *entry; (entry = readdir(list));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) is_empty = false;
    closedir(list);
    if (is_empty) return 0;
    complain("'%s' is not empty; --force replaces the model in it", folder);
    return EXIT_FAILURE;
}

/* Better said before than after the disk is full. */
static int check_space(const char *folder, uint64_t n_bytes)
{
    struct statvfs facts;
    if (statvfs(folder, &facts) != 0) return 0;
    const double free_bytes = (double)facts.f_bavail * (double)facts.f_frsize;
    if (free_bytes >= (double)n_bytes) return 0;
    complain("'%s' would take %.1f GB, and %.1f GB are free there", folder, 1e-9 * (double)n_bytes, 1e-9 * free_bytes);
    return EXIT_FAILURE;
}

int model_folder_prepare(const char *folder, bool is_forced, uint64_t n_bytes, bool *is_new)
{
    *is_new = mkdir(folder, 0777) == 0;
    if (!*is_new) {
        if (errno != EEXIST) return complain_errno("make the folder", folder);
        const int code = is_forced ? 0 : check_empty(folder);
        if (code) return code;
        remove_model(folder);
    }
    const int code = check_space(folder, n_bytes);
    if (code && *is_new) rmdir(folder);
    return code;
}

void model_folder_undo(const char *folder, bool is_new)
{
    remove_model(folder);
    if (is_new) rmdir(folder);
}
