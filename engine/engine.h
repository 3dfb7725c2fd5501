/*
 * The engine as the daemon sees it. server/ and api/ include this header and no other of engine/.
 *
 * Three nouns:
 *   run directory  the protocol between daemon and trainer (spec.json in; events.jsonl, checkpoints/, artifacts/
 * out). The daemon creates it, the trainer appends to it, nobody else writes there while `lock` is held. helper a
 * child process that parses what comes from outside (models, templates, data) for the daemon, one JSON request a line
 * over a socket; a hostile file may kill it and costs that request only. hyperparams    the table of knobs; plain
 * data, safe to read in the daemon itself. The daemon never sees a tensor, a token or a weight, and never opens
 * OpenBLAS: both entry points below are called in child processes of their own (`honed train DIR`, `honed helper`).
 *
 * The base that both sides share is re-exported: errors, buffers, durable files and hashes, JSON access.
 */
#ifndef HN_ENGINE_H
#define HN_ENGINE_H

#include "engine/base/buf.h"
#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/hyperparams.h"
#include "engine/base/json.h"
#include "engine/base/utf8.h"

/* Training data sets of one job, and the weight of each: how often an epoch sees each of its rows. */
#define HN_DATASETS_MAX 16
#define HN_WEIGHT_MIN 0.001
#define HN_WEIGHT_MAX 100
/* Bytes of weights in one file of a merged folder, unless asked otherwise, and what may be asked for at most. */
#define HN_SHARD_BYTES 5000000000LL
#define HN_SHARD_BYTES_MAX 9007199254740991LL
#define HN_VERIFY_ON_MAX 4 /* other precisions of the base that a result is tried on */

/* Exit statuses of the trainer. Hints for people; the last event in events.jsonl is the verdict. */
enum hn_train_exit {
    HN_EXIT_FINISHED = 0,
    HN_EXIT_INTERRUPTED = 3,
    HN_EXIT_LOCKED = 4,
    HN_EXIT_FAILED = 5,
    HN_EXIT_RESOURCES = 6,
};

/*
 * Runs, or resumes, the run in `run_dir` until it is finished, fails, or SIGTERM interrupts it (state of the last
 * whole step is written first; a second SIGTERM leaves at once). `lock_fd` is a descriptor of RUN_DIR/lock that
 * already holds the flock, inherited from the spawner, or -1 to open and lock it here. Returns an hn_train_exit.
 */
int hn_train(const char *run_dir, int lock_fd);

/*
 * Serves helper requests on the stream socket `fd` until it is closed by the other side. Returns a process exit
 * status.
 *
 * Wire: one JSON object a line, both ways, answered in order.
 *   → {"id":7,"op":"dataset.inspect","params":{…}}
 *   ← {"id":7,"result":{…}}   or   {"id":7,"error":{"code","message","field","hint","details":[…],"total":N}}
 *   An op that streams sends {"id":7,"chunk":{…}} lines before its result.
 *   → {"id":7,…,"beat":1000}: while the request is worked on, about so many milliseconds apart,
 *   ← {"id":7,"beat":N} is sent whenever the work went on meanwhile (engine/base/pulse.h). A helper that sends none hangs.
 *   → {"pause":7}: others wait; an op that can be gone on with later answers soon with what it has.
 *
 * Ops (DATA is {"path","format":null|str,"columns":null|obj,"on_error":"refuse"|"drop"}, MODEL is {"path"}):
 *   dataset.inspect  DATA → {"format","columns","tasks":[…],"rows","dropped","warnings":[{"code","message","lines"}]}
 *   dataset.unpack   {"path","to","limit"} → {"bytes","sha256"}: a compressed file's content into the new file `to`
 *   dataset.preview  {"model":MODEL,"data":DATA,"row":N,"task"|null,"hyperparameters":{…}} → contract's preview
 *   model.inspect    {"path"} →
 * {"family","format","quantisation","parameters","context","vocab","tasks","chat_template", "sha256","bytes"}
 *   job.plan         {"model":MODEL+{"sha256","name"},"train":DATA+{"sha256"[,"weight"]},"more":absent|[the same, …],"validation":null|DATA+{"sha256"}|
 *                    {"fraction":F}|"none"|"auto","task"|null,"method"|null,"hyperparameters":{…},"exports"|null,
 *                    "export_step"|null,"export_dtype"|null,"gguf_dtype"|null,"max_shard_bytes"|null,"samples"|null,"labels"|null,"class_weights"|null,"dedupe","drop_leaks",
 *                    "test":null|DATA+{"sha256"},"verify_on":absent|[MODEL+{"sha256","name"}],"init":null|{"path" of a checkpoint's state.safetensors,"job","step"},
 *                    "tokens":absent|{"folder","bytes"} where files of tokenised rows are kept (host.tokens names this run's),
 *                    "memory_bytes","threads","now":"2026-01-31"}
 *                    → {"run":{… the spec's run part …},"host":{…},"task","method","hyperparameters":{resolved, all},
 *                    "auto":{name:why},"validation":{"rows",…},"counts":{"rows","used","dropped","truncated",
 *                    "target_tokens"},"warnings":[{"code","message"}],"plan":{"peak_bytes","micro_batch_tokens",
 *                    "recompute"},"dry_run":{contract's, without "fits" and "available_bytes"}}
 *                    The run part names its inputs `inputs/model.gguf` (or `inputs/model`, a folder), `inputs/train`,
 *                    `inputs/validation`, `inputs/test`; the daemon links them there, and
 *                    `inputs/init.safetensors`.
 *   predict          {"model":MODEL,"source":null|{"run_dir","step":"exported"|"best"|"last"|N},"inputs":[…],
 *                    "max_tokens","temperature","top_p","top_k","seed","stop","stream":bool,"first":absent|N} → {"data":[…]};
 *                    chunks while streaming are {"index","text"}. After a pause "data" answers the first inputs only
 *                    and "paused" is true: the others are asked for again, with "first" saying how many came before.
 *   evaluate         {"model":MODEL,"source" as for predict,"data":DATA,"generate":null|bool|{"max_tokens","stop"},
 *                    "rows_to":null|path} → {"rows","dropped","truncated","metrics":{"loss",…},"labels","confusion","answered" where answers
 *                    were written}; chunks meanwhile are {"answered"}. The new file `rows_to` gets every row as a line
 *                    of JSON: {"line", its columns, "predicted", "correct", "loss", …}
 *   export           {"model":MODEL,"source":{"run_dir","step":N},"to"} → {"files":[{"path","kind","size","sha256","verified":null}]},
 *                    written into the new folder `to`, with that list in its manifest.json
 *   machine.rate     {"threads"} → {"kernels","product","products","copy","copies"}: operations a second in matrix
 *                    products and bytes a second copied, of one thread and of all at once
 */
int hn_helper_serve(int fd);

/* Whether the files of a checkpoint (checkpoints/step-N/) have the bytes that its state.json vouches for: HN_E_CONFLICT names the
 * one that has not. Only hashes; nothing of it is interpreted. */
int hn_checkpoint_check_folder(const char *folder, struct hn_error *err);

/* The CPU level that products and elementwise loops run at here: "avx512", "avx2", "portable"; HONE_KERNELS may name a lower
 * one than the CPU's best. Whether that is a name there is. */
const char *hn_kernel_level(void);
bool hn_kernel_asked(struct hn_error *err);

/* Version and build of this binary, for --version and records. */
const char *hn_build_name(void);

#endif
