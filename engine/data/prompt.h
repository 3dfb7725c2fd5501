/* What a model is asked to go on with: a row without its last answer, or a prediction input. */
#ifndef HN_ENGINE_DATA_PROMPT_H
#define HN_ENGINE_DATA_PROMPT_H

#include "engine/data/codec.h"
#include "engine/data/dataset.h"

/* A row as a prompt for generation: ids up to where the last answer begins, the prompt as text and
 * the reference answer. HN_E_UNSUPPORTED for rows without an answer (plain text: the first half of
 * the row becomes the prompt). Caller frees with hn_prompt_finish. */
struct hn_prompt {
    struct hn_ids ids;
    struct hn_buf text, reference;
    size_t
        again; /* bytes at the end of text that ids leave out, since an answer begins with them */
};
int hn_prompt_from_row(const struct hn_codec *codec, const struct hn_dataset *data, size_t row,
    struct hn_prompt *ret, struct hn_error *err);
/* The same for a prediction input: a string (raw text for models without a template, else one user
 * message), an array of messages, {"messages","tools"}, or {"prompt": raw text}. */
int hn_prompt_from_input(
    const struct hn_codec *codec, const json_t *input, struct hn_prompt *ret, struct hn_error *err);
/* What ids leave out, for hn_generator.again. */
struct hn_view hn_prompt_again(const struct hn_prompt *prompt);
void hn_prompt_finish(struct hn_prompt *prompt);
/* What a written answer to it is compared with: the answers of a question (`row` as hn_dataset_row
 * has it), else the text that training would teach. New reference. */
json_t *hn_prompt_references(const struct hn_prompt *prompt, const json_t *row);

#endif
