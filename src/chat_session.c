/* SPDX-License-Identifier: Apache-2.0
 * One conversation: a turn is said, undone, or written anew. */
#include "chat_session.h"

#include <stdlib.h>
#include <string.h>

#include "chat_turns.h"
#include "complain.h"
#include "ctrl_c.h"
#include "open_model.h"
#include "progress_bar.h"

/* Room for the marks of the present turn and of the four before it even where each holds a window of its own, and for one automatic
 * checkpoint in a long message, from which a retry need not read all of it again. */
#define HELD_STATES 6
#define CHECKPOINT_TOKENS 512

static rg_status set_checkpoints(rg_state_options *options, rg_model *model, uint32_t page_length)
{
    rg_state *state = NULL;
    const uint64_t pages = (CHECKPOINT_TOKENS + page_length - 1) / page_length;
    rg_status status = rg_state_new(&state, model, options);
    if (status == RG_OK) status = rg_state_options_set_checkpoint_bytes(options, HELD_STATES * rg_state_size_bytes(state));
    if (status == RG_OK) status = rg_state_options_set_checkpoint_every(options, pages * page_length);
    rg_state_free(state);
    return status;
}

/* The state, new or restored in the window type that it was saved in. */
static int open_state(chat_session *s, const rg_snapshot *saved, uint32_t page_length)
{
    rg_error error = RG_ERROR_INIT;
    rg_snapshot_info info = { .struct_size = sizeof info };
    rg_state_options *options = rg_state_options_new();
    rg_status status = options ? RG_OK : RG_ERR_MEMORY;
    if (status == RG_OK && saved) status = rg_snapshot_get_info(saved, &info);
    if (status == RG_OK && saved) status = rg_state_options_set_window_type(options, info.window_type);
    if (status == RG_OK) status = set_checkpoints(options, s->model, page_length);
    if (status == RG_OK) status = saved ? rg_snapshot_restore(&s->state, saved, s->model, options, &error) : rg_state_new(&s->state, s->model, options);
    rg_state_options_free(options);
    return status == RG_OK ? 0 : complain_status(status, &error);
}

/* Counts all tokens whose ids are kept into the repetition penalty. */
static rg_status accept_tokens(chat_session *s)
{
    rg_state_info info = { .struct_size = sizeof info };
    rg_status status = rg_state_get_info(s->state, &info);
    for (uint64_t at = info.first_kept_token; status == RG_OK && at < info.position;) {
        rg_token tokens[1024];
        size_t n = sizeof tokens / sizeof *tokens;
        status = rg_state_get_tokens(s->state, at, tokens, &n);
        for (size_t i = 0; status == RG_OK && i < n; i++) status = rg_sampler_accept(s->sampler, tokens[i]);
        at += n;
    }
    return status;
}

/* What a state that was saved by another program had consumed becomes a turn that stays. */
static int mark_foreign_tokens(chat_session *s)
{
    chat_turns turns;
    const int code = chat_turns_read(&turns, s->state);
    if (code) return code;
    const uint64_t marked = turns.n > 0 ? turns.items[turns.n - 1].end : 0;
    const bool is_foreign = turns.n == 0;
    free(turns.items);
    return rg_state_position(s->state) > marked ? chat_turns_mark(s->state, "(from elsewhere)", is_foreign) : 0;
}

/* What a saved conversation brings besides the state: its sampler goes on, or the tokens count at least. */
static int go_on(chat_session *s, const rg_snapshot *saved)
{
    rg_error error = RG_ERROR_INIT;
    rg_state_info info = { .struct_size = sizeof info };
    rg_status status = rg_snapshot_restore_sampler(saved, s->sampler, &error);
    if (status == RG_ERR_NOT_FOUND) status = accept_tokens(s);
    if (status == RG_OK) status = sampling_apply(s->sampler, s->sampling);
    if (status == RG_OK) status = rg_state_get_info(s->state, &info);
    if (status != RG_OK) return complain_status(status, &error);
    if (info.has_other_numerics)
        complain("numerics: differs: other kernels, pages or window type computed a part of this conversation; it goes on, but not to the same bits");
    return mark_foreign_tokens(s);
}

int chat_session_open(chat_session *s, rg_model *model, const sampling_choice *sampling, const rg_snapshot *saved)
{
    rg_model_info info;
    rg_status status = RG_OK;
    rg_tokenizer_info pieces = { .struct_size = sizeof pieces, .end_of_turn = -1 };
    *s = (chat_session){ .model = model, .sampling = sampling };
    int code = get_model_info(model, &info);
    if (!code) code = sampling_open(&s->sampler, &s->options, model, sampling);
    if (!code) code = open_state(s, saved, info.page_length);
    if (code) return code;

    /* rg_chat_say stops there by itself; rg_generate, which writes a reply anew, does not. */
    if (rg_model_tokenizer(model)) rg_tokenizer_get_info(rg_model_tokenizer(model), &pieces);
    if (pieces.end_of_turn >= 0) status = rg_generate_options_add_stop_token(s->options, pieces.end_of_turn);
    if (status != RG_OK) return complain_status(status, NULL);
    return saved ? go_on(s, saved) : 0;
}

void chat_session_close(chat_session *s)
{
    rg_state_free(s->state);
    rg_generate_options_free(s->options);
    rg_sampler_free(s->sampler);
}

int chat_session_say(chat_session *s, const char *message)
{
    rg_error error = RG_ERROR_INIT;
    const uint64_t begin = rg_state_position(s->state);
    progress_begin();
    const rg_status status = rg_chat_say(s->state, RG_USER, message, s->options, s->on_piece, s->user, &error);
    progress_clear();
    if (status != RG_OK && status != RG_INTERRUPTED) return complain_status(status, &error);
    if (rg_state_position(s->state) == begin) return 0; /* stopped before it had begun */
    s->is_changed = true;
    return chat_turns_mark(s->state, message, false);
}

/* State and sampler as they were at an earlier position, but for the random numbers. */
static bool go_back(chat_session *s, uint64_t position)
{
    rg_error error = RG_ERROR_INIT;
    const rg_run run = { .struct_size = sizeof run, .interrupt = ctrl_c_catch(), .progress = progress_reading };
    progress_begin();
    rg_status status = rg_state_rewind_within(s->state, position, &run, &error);
    progress_clear();
    if (status == RG_INTERRUPTED) complain("stopped; nothing has changed");
    else if (status != RG_OK) complain_status(status, &error);
    if (status != RG_OK) return false;

    s->is_changed = true;
    rg_sampler_forget(s->sampler); /* and read again as far as it is left */
    status = accept_tokens(s);
    if (status != RG_OK) complain_status(status, NULL);
    return true;
}

/* The turn that n_turns back begins with. False after a complaint. */
static bool find_turn(chat_turn *turn, const chat_session *s, uint64_t n_turns)
{
    chat_turns turns;
    if (chat_turns_read(&turns, s->state) != 0) return false;
    uint64_t n = turns.n;
    if (n > 0 && turns.items[0].number == 0) n--; /* no turn, and stays */
    const bool is_there = n_turns <= n;
    if (is_there) *turn = turns.items[turns.n - n_turns];
    free(turns.items);
    if (n == 0) complain("there is no turn to take back");
    else if (!is_there) complain("there are only %llu turns to take back; /rewind lists them", (unsigned long long)n);
    else if (!turn->is_reachable) complain("what the dialogue was before this turn is no longer kept; /rewind lists the turns that can be taken back");
    return is_there && turn->is_reachable;
}

bool chat_session_undo(chat_session *s, uint64_t n_turns)
{
    chat_turn turn;
    return find_turn(&turn, s, n_turns) && go_back(s, turn.begin);
}

/* The ids of a turn; free(*tokens). False after a complaint. */
static bool read_tokens(rg_token **tokens, size_t *n, const chat_session *s, const chat_turn *turn)
{
    *n = (size_t)(turn->end - turn->begin);
    *tokens = malloc(*n * sizeof **tokens);
    if (!*tokens) {
        complain_memory();
        return false;
    }
    if (rg_state_get_tokens(s->state, turn->begin, *tokens, n) == RG_OK) return true;
    complain("the ids of this turn are no longer kept; /undo, and say it again");
    return false;
}

/* How many of a turn's tokens come before the reply: up to the opening of the second turn in the model's format, which is the model's. 0: there is
 * none, since reading was stopped before. */
static size_t find_reply(const chat_session *s, const rg_token *tokens, size_t n)
{
    const rg_tokenizer *tokenizer = rg_model_tokenizer(s->model);
    rg_tokenizer_info pieces = { .struct_size = sizeof pieces };
    rg_token opening[8];
    size_t n_opening = sizeof opening / sizeof *opening, n_turns = 0;
    if (rg_tokenizer_get_info(tokenizer, &pieces) != RG_OK) return 0;
    if (rg_tokenizer_encode(tokenizer, "model\n", 6, RG_PLAIN_TEXT, opening, &n_opening, NULL) != RG_OK) return 0;
    for (size_t i = 0; i < n; i++) {
        if (tokens[i] != pieces.start_of_turn || ++n_turns < 2) continue;
        const size_t begin = i + 1 + n_opening;
        return begin <= n ? begin : 0;
    }
    return 0;
}

/* Writes a reply from where the state stands, which is at the beginning of one, and says whether it came out as the old one. */
static int write_reply(chat_session *s, const char *name, const rg_token *old, size_t n_old)
{
    rg_error error = RG_ERROR_INIT;
    const uint64_t begin = rg_state_position(s->state);
    progress_begin();
    const rg_status status = rg_generate(s->state, NULL, 0, s->options, s->on_piece, s->user, &error);
    progress_clear();
    if (status != RG_OK && status != RG_INTERRUPTED) return complain_status(status, &error);

    size_t n = (size_t)(rg_state_position(s->state) - begin);
    rg_token *tokens = n == n_old && n > 0 ? malloc(n * sizeof *tokens) : NULL;
    if (tokens && rg_state_get_tokens(s->state, begin, tokens, &n) == RG_OK && memcmp(tokens, old, n * sizeof *tokens) == 0)
        complain("the reply is the same again; a higher --temp makes others more probable");
    free(tokens);
    return chat_turns_mark_again(s->state, name);
}

int chat_session_retry(chat_session *s)
{
    chat_turn turn;
    rg_token *tokens = NULL;
    size_t n = 0;
    int code = 0;
    if (!find_turn(&turn, s, 1) || !read_tokens(&tokens, &n, s, &turn)) return 0;
    const size_t n_before = find_reply(s, tokens, n);
    if (n_before == 0) complain("the message was not read to its end; /undo, and say it again");
    else if (go_back(s, turn.begin + n_before)) code = write_reply(s, turn.name, tokens + n_before, n - n_before);
    free(tokens);
    return code;
}

void chat_session_reset(chat_session *s)
{
    rg_state_reset(s->state);
    rg_sampler_set_seed(s->sampler, s->sampling->seed);
    rg_sampler_reset(s->sampler);
    s->is_changed = true;
}
