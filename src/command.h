/* SPDX-License-Identifier: Apache-2.0
 * The verbs of the command `recurrentgemma`. Each takes its own arguments, argv[0] being the verb, and returns the exit code. */
#ifndef COMMAND_H
#define COMMAND_H

int cmd_bench(int argc, char **argv);
int cmd_chat(int argc, char **argv);
int cmd_detokenize(int argc, char **argv);
int cmd_generate(int argc, char **argv);
int cmd_convert(int argc, char **argv);
int cmd_verify(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_logits(int argc, char **argv);
int cmd_score(int argc, char **argv);
int cmd_state(int argc, char **argv);
int cmd_store(int argc, char **argv);
int cmd_synth(int argc, char **argv);
int cmd_tokenize(int argc, char **argv);

#endif
