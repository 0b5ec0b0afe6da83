/* SPDX-License-Identifier: Apache-2.0
 * The turns of a dialogue, as checkpoints of its state. */
#include "chat_turns.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "complain.h"
#include "unicode.h"

#define WORDS_BYTES 64 /* of a message, in the name of its mark */

/* The number in "turn 12: ..."; false: it is not the name of a mark. */
static bool read_number(uint64_t *number, const char *name)
{
    static const char beginning[] = "turn ";
    const size_t skip = sizeof beginning - 1;
    if (strncmp(name, beginning, skip) != 0 || name[skip] < '0' || name[skip] > '9') return false;
    char *end = NULL;
    *number = strtoull(name + skip, &end, 10);
    return end[0] == ':' && end[1] == ' ' && *number < UINT64_MAX;
}

const char *chat_turn_words(const chat_turn *turn)
{
    const char *colon = strchr(turn->name, ':');
    return colon ? colon + 2 : "";
}

/* Where a turn begins is where the one before it ends; the first one begins at 0. */
static void find_begin(chat_turn *turn, const chat_turn *before, bool before_is_held, const rg_state_info *info)
{
    const bool is_next = before && before->number + 1 == turn->number;
    turn->begin = is_next ? before->end : 0;
    turn->is_reachable = is_next ? before_is_held || turn->begin >= info->reachable_from : turn->number == 1;
}

int chat_turns_read(chat_turns *turns, const rg_state *state)
{
    *turns = (chat_turns){ 0 };
    rg_state_info info = { .struct_size = sizeof info };
    const rg_status status = rg_state_get_info(state, &info);
    if (status != RG_OK) return complain_status(status, NULL);
    if (info.n_checkpoints == 0) return 0;
    turns->items = calloc(info.n_checkpoints, sizeof *turns->items);
    if (!turns->items) return complain_memory();

    bool before_is_held = false;
    for (size_t i = 0; i < info.n_checkpoints; i++) {
        rg_checkpoint_info point = { .struct_size = sizeof point };
        chat_turn *turn = &turns->items[turns->n];
        if (rg_state_get_checkpoint(state, i, &point) != RG_OK || !read_number(&turn->number, point.name)) continue;
        snprintf(turn->name, sizeof turn->name, "%s", point.name);
        turn->end = point.position;
        find_begin(turn, turns->n > 0 ? turn - 1 : NULL, before_is_held, &info);
        before_is_held = point.is_held;
        turns->n++;
    }
    return 0;
}

/* The first words of a message on one line: whole characters, at most WORDS_BYTES of them. */
static void take_words(char *words, const char *message)
{
    size_t n = 0;
    message += strspn(message, " \t\n");
    while (*message) {
        uint32_t character = 0;
        const size_t length = unicode_read(&character, message, strlen(message));
        const size_t bytes = length > 0 ? length : 1;
        if (n + bytes > WORDS_BYTES) break;
        if (length == 0) words[n] = '?';
        else if (unicode_is_commanding(character)) memset(words + n, ' ', bytes);
        else memcpy(words + n, message, bytes);
        n += bytes;
        message += bytes;
    }
    words[n] = '\0';
}

/* The library keeps a bounded number of names: the oldest turn gives way. */
static bool forget_oldest(rg_state *state)
{
    rg_checkpoint_info point = { .struct_size = sizeof point };
    for (size_t i = 0; rg_state_get_checkpoint(state, i, &point) == RG_OK; i++, point.struct_size = sizeof point) {
        uint64_t number;
        if (!read_number(&number, point.name)) continue;
        char name[256];
        snprintf(name, sizeof name, "%s", point.name);
        return rg_state_forget_checkpoint(state, name) == RG_OK;
    }
    return false;
}

int chat_turns_mark_again(rg_state *state, const char *name)
{
    rg_error error = RG_ERROR_INIT;
    rg_status status = rg_state_checkpoint(state, name, &error);
    if (status == RG_ERR_LIMIT && forget_oldest(state)) status = rg_state_checkpoint(state, name, &error);
    return status == RG_OK ? 0 : complain_status(status, &error);
}

int chat_turns_mark(rg_state *state, const char *message, bool is_foreign)
{
    chat_turns turns;
    const int code = chat_turns_read(&turns, state);
    if (code) return code;
    const uint64_t number = turns.n > 0 ? turns.items[turns.n - 1].number + 1 : is_foreign ? 0 : 1;
    free(turns.items);

    char words[WORDS_BYTES + 1], name[256];
    take_words(words, message);
    snprintf(name, sizeof name, "turn %" PRIu64 ": %s", number, words);
    return chat_turns_mark_again(state, name);
}
