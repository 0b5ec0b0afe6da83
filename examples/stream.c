/* SPDX-License-Identifier: Apache-2.0
 * Text as it is written: a sampler, a stop string, and Ctrl-C that stops at the next token.
 *
 *     stream [MODEL [TEXT]]
 */
#include <recurrentgemma.h>
#include <signal.h>
#include <stdio.h>

static rg_interrupt *stop;

static void on_ctrl_c(int signal_number)
{
    (void)signal_number;
    rg_interrupt_set(stop); /* any thread may, and a signal handler */
}

typedef struct tally {
    size_t n_tokens;
    double logprob;
    int stop_reason;
} tally;

static int print_piece(void *user, const rg_piece *piece)
{
    tally *t = user;
    fwrite(piece->text, 1, piece->text_bytes, stdout); /* whole characters, so any terminal can show them at once */
    fflush(stdout);
    if (piece->token >= 0) {
        t->n_tokens++;
        t->logprob += (double)piece->logprob;
    }
    t->stop_reason = piece->stop_reason;
    return RG_CONTINUE;
}

static rg_status set_options(rg_generate_options *options, rg_sampler *sampler)
{
    static const char paragraph_end[] = "\n\n";
    rg_status status = rg_sampler_set_temperature(sampler, 0.8f);
    if (status == RG_OK) status = rg_sampler_set_top_p(sampler, 0.95f);
    if (status == RG_OK) status = rg_sampler_set_seed(sampler, 1);
    if (status == RG_OK) status = rg_generate_options_set_sampler(options, sampler);
    if (status == RG_OK) status = rg_generate_options_set_max_tokens(options, 120);
    if (status == RG_OK) status = rg_generate_options_add_stop_string(options, paragraph_end, sizeof paragraph_end - 1);
    if (status == RG_OK) status = rg_generate_options_set_interrupt(options, stop);
    return status;
}

int main(int argc, char **argv)
{
    static const char *const reasons[] = { "nothing", "a stop token", "a stop string", "the budget", "Ctrl-C", "the callback", "an error" };
    const char *text = argc > 2 ? argv[2] : "The old house";
    rg_error error = RG_ERROR_INIT;
    rg_model_info info = { .struct_size = sizeof info };
    rg_model *model = NULL;
    rg_state *state = NULL;
    rg_sampler *sampler = NULL;
    rg_generate_options *options = rg_generate_options_new();
    tally t = { 0 };

    stop = rg_interrupt_new();
    if (stop) signal(SIGINT, on_ctrl_c);
    rg_status status = stop && options ? rg_model_open(&model, argc > 1 ? argv[1] : "demo", NULL, &error) : RG_ERR_MEMORY;
    if (status == RG_OK) status = rg_model_get_info(model, &info);
    if (status == RG_OK) status = rg_state_new(&state, model, NULL);
    if (status == RG_OK) status = rg_sampler_new(&sampler, info.vocab_size, NULL);
    if (status == RG_OK) status = set_options(options, sampler);
    if (status == RG_OK) {
        printf("%s", text);
        status = rg_generate_text(state, text, options, print_piece, &t, &error);
    }
    if (status >= RG_OK) /* RG_INTERRUPTED is not an error: the state could go on */
        printf("\n\n%zu tokens, %.2f nats each, ended by %s\n", t.n_tokens, t.n_tokens ? -t.logprob / (double)t.n_tokens : 0.0, reasons[t.stop_reason]);
    else
        fprintf(stderr, "stream: %s\n", error.message[0] ? error.message : rg_status_text(status));

    signal(SIGINT, SIG_DFL);
    rg_generate_options_free(options);
    rg_sampler_free(sampler);
    rg_state_free(state);
    rg_model_close(model);
    rg_interrupt_free(stop);
    return status >= RG_OK ? 0 : 1;
}
