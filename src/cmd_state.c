/* SPDX-License-Identifier: Apache-2.0
 * recurrentgemma state: looks into saved states. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "complain.h"
#include "open_model.h"
#include "snapshot_diff.h"
#include "snapshot_report.h"
#include "subverbs.h"
#include "terminal.h"

#define STATE_NOTES "FILE is a state that chat --state, rg_state_save or another host has saved. Every byte of it is checked."

/* 0, or an exit code after a complaint, which tells the place of the damage too. */
static int open_snapshot(rg_snapshot **snapshot, const char *file)
{
    rg_error error = RG_ERROR_INIT;
    const rg_status status = rg_snapshot_open(snapshot, file, NULL, &error);
    if (status == RG_OK) return 0;
    if (error.offset == RG_NO_OFFSET) return complain_status(status, &error);
    complain("%s (at byte %" PRIu64 ")", error.message, error.offset);
    return EXIT_FAILURE;
}

/* Whether a model can go on with the snapshot. error has the reason, and lives as long as *fit. */
static int find_fit(snapshot_fit *fit, const rg_snapshot *snapshot, const char *path, const model_choice *opening, rg_error *error)
{
    rg_model *model = NULL;
    rg_state *state = NULL;
    rg_state_info info = { .struct_size = sizeof info };
    int code = open_model(&model, path, opening);
    if (code) return code;
    rg_status status = rg_snapshot_restore(&state, snapshot, model, NULL, error);
    if (status == RG_OK) status = rg_state_get_info(state, &info);
    fit->is_asked = true;
    fit->refusal = status == RG_ERR_STATE_MODEL ? error->message : NULL;
    fit->has_other_numerics = info.has_other_numerics;
    if (status != RG_OK && status != RG_ERR_STATE_MODEL) code = complain_status(status, error);
    rg_state_free(state);
    rg_model_close(model);
    return code;
}

static int state_info(int argc, char **argv)
{
    const char *file = NULL, *model = NULL;
    bool is_json = false;
    model_choice opening = MODEL_CHOICE_INIT;
    const option options[] = {
        OPTION_TEXT(0, "model", "MODEL", &model, "tell whether this model can go on with it, and with the same numerics"),
        OPTION_FLAG(0, "json", &is_json, "print the same as JSON"),
        MODEL_OPTIONS(&opening),
    };
    static const usage about = {
        "state info", "FILE",
        "Tell what a saved state is: its position, the model and the kernels it belongs to, what it holds, and its checkpoints. A checkpoint is "
        "held, or only named: then going back to it reads ids again.",
        STATE_NOTES "\n\n" MODEL_NOTES,
    };
    int code = 0;
    if (!options_parse(&file, &code, argc, argv, &about, options, sizeof options / sizeof *options)) return code;

    rg_snapshot *snapshot = NULL;
    rg_error error = RG_ERROR_INIT;
    snapshot_fit fit = { 0 };
    code = open_snapshot(&snapshot, file);
    if (!code && model) code = find_fit(&fit, snapshot, model, &opening, &error);
    if (!code) {
        if (is_json) snapshot_report_json(snapshot, &fit);
        else snapshot_report_text(snapshot, &fit);
    }
    rg_snapshot_close(snapshot);
    return code;
}

static int state_diff(int argc, char **argv)
{
    bool is_json = false;
    const option options[] = { OPTION_FLAG(0, "json", &is_json, "print the same as JSON") };
    static const usage about = {
        "state diff", "FILE OTHER",
        "Tell in which sections two saved states differ, where first, and of numbers how many and by how much. Exit code 0: they are equal; 1: they "
        "differ, or one cannot be read.",
        STATE_NOTES,
    };
    int code = 0, n = 0;
    if (!options_parse_operands(&n, 2, 2, &code, argc, argv, &about, options, sizeof options / sizeof *options)) return code;

    rg_snapshot *a = NULL, *b = NULL;
    code = open_snapshot(&a, argv[1]);
    if (!code) code = open_snapshot(&b, argv[2]);
    if (!code) code = snapshot_diff(a, b, argv[1], argv[2], is_json);
    rg_snapshot_close(a);
    rg_snapshot_close(b);
    return code;
}

static int verify(const char *file)
{
    rg_snapshot *snapshot = NULL;
    rg_snapshot_info info = { .struct_size = sizeof info };
    const int code = open_snapshot(&snapshot, file);
    if (code) return code;
    rg_snapshot_get_info(snapshot, &info);
    terminal_write_harmless(stdout, file, strlen(file), false);
    printf(": good, position %" PRIu64 ", %" PRIu64 " bytes in %zu sections\n", info.position, info.n_bytes, info.n_sections);
    rg_snapshot_close(snapshot);
    return 0;
}

static int state_verify(int argc, char **argv)
{
    static const usage about = {
        "state verify", "FILE...",
        "Check every byte of saved states. One line for each: good, or on standard error the section that is damaged and its place. Exit code 0: all "
        "are good; 1: one is not.",
        STATE_NOTES,
    };
    int code = 0, n = 0;
    if (!options_parse_operands(&n, 1, argc, &code, argc, argv, &about, NULL, 0)) return code;
    for (int i = 1; i <= n; i++)
        if (verify(argv[i]) != 0) code = EXIT_FAILURE;
    return code;
}

int cmd_state(int argc, char **argv)
{
    static const subverb verbs[] = {
        { "state info", "tell what a saved state is, and whether a model can go on with it", state_info },
        { "state diff", "tell where two saved states differ", state_diff },
        { "state verify", "check every byte of saved states", state_verify },
    };
    return subverbs_run("state", "Look into saved states.", verbs, sizeof verbs / sizeof *verbs, argc, argv);
}
