/*
 * Room engine.
 * May include: engine/base engine/hyperparams engine/kernels engine/run engine/tables.
 */

/*
 * The engine as the daemon sees it. server/ and api/ include this header and no other of engine/
 * but those of engine/tune, which the daemon calls itself: plain arithmetic on its own numbers.
 *
 * Four nouns:
 *   run directory    the protocol between daemon and trainer: spec.json in; events.jsonl,
 *                    checkpoints/ and artifacts/ out. The daemon creates it, the trainer appends to
 *                    it, nobody else writes there while `lock` is held.
 *   helper           a child process that parses what comes from outside (models, templates, data)
 *                    for the daemon: one JSON request a line, over a socket. A hostile file may
 *                    kill it, which costs that request only.
 *   hyperparameters  a table (hyperparams.def); plain data, safe to read in the daemon itself.
 *   job request      a table (job_request.def) of the fields of a submission; the same.
 *
 * The daemon never sees a tensor, a token or a weight, and never opens OpenBLAS: both entry points
 * below run in child processes of their own (`honed train DIR`, `honed helper`).
 *
 * What both sides share is re-exported: errors, buffers, durable files and hashes, JSON access,
 * bounds of fields, the build and the CPU level.
 */
#ifndef HN_ENGINE_ENGINE_H
#define HN_ENGINE_ENGINE_H

#include "engine/base/buf.h"
#include "engine/base/build.h"
#include "engine/base/error.h"
#include "engine/base/file.h"
#include "engine/base/json.h"
#include "engine/job_request.h"
#include "engine/base/utf8.h"
#include "engine/hyperparams.h"
#include "engine/kernels/level.h"
#include "engine/limits.h"
#include "engine/run/checkpoint_check.h"

/* Exit statuses of the trainer. Hints for people; the last event in events.jsonl is the verdict. */
enum hn_train_exit {
    HN_EXIT_FINISHED = 0,
    HN_EXIT_INTERRUPTED = 3,
    HN_EXIT_LOCKED = 4,
    HN_EXIT_FAILED = 5,
    HN_EXIT_RESOURCES = 6,
};

/*
 * Runs, or resumes, the run in `run_dir` until it is finished, fails, or SIGTERM interrupts it
 * (state of the last whole step is written first; a second SIGTERM leaves at once). `lock_fd` is a
 * descriptor of RUN_DIR/lock that already holds the flock, inherited from the spawner, or -1 to
 * open and lock it here. Returns an hn_train_exit.
 */
int hn_train(const char *run_dir, int lock_fd);

/*
 * Serves helper requests on the stream socket `fd` until it is closed by the other side. Returns a
 * process exit status.
 *
 * Wire: one JSON object a line, both ways, answered in order.
 *   → {"id":7,"op":"dataset.inspect","params":{…}}
 *   ← {"id":7,"result":{…}}
 *   ← {"id":7,"error":{"code","message","field","hint","details":[…],"total":N}}
 * A request that streams sends {"id":7,"chunk":{…}} lines before its result.
 *   → {"id":7,…,"beat":1000}: while the request is worked on, about so many milliseconds apart,
 *   ← {"id":7,"beat":N} is sent whenever the work went on meanwhile (engine/base/pulse.h). A helper
 *     that sends none hangs.
 *   → {"pause":7}: others wait; what can be continued later answers soon with what it has.
 *
 * DATA is {"path","format":null|str,"columns":null|obj,"on_error":"refuse"|"drop"},
 * MODEL is {"path"}, FILE(X) is X with "sha256" and, for models, "name".
 *
 *   dataset.inspect   DATA
 *     → {"format","columns","tasks":[…],"rows","dropped","warnings":[{"code","message","lines"}]}
 *   dataset.look      DATA: the same of a file, or of its beginning, that may have faults
 *     → what dataset.inspect answers, "columns" null where they are not known, and {"sample":
 *       [{"line","cells":{name:text}}], "error":null|{"message","hint","details","total"}}
 *   dataset.unpack    {"path","to","limit"}: the content of a compressed file into the new file
 *                     `to`
 *     → {"bytes","sha256"}
 *   dataset.correct   {"data":DATA,"request":{"exclude","labels","new_labels"},"to","limit"}: the
 *                     file without some rows and with other labels (data/correct.h) into the new
 *                     file `to`
 *     → {"bytes","sha256","rows","excluded","relabelled","changes"}
 *   dataset.rows      {"data":DATA,"lines":["12","20-30"]}
 *     → {"data":[{"line","row","text","label","truncated"}]}: rows that begin in these lines, the
 *     first 1,000 of them
 *   dataset.preview   {"model":MODEL,"data":DATA,"row":N,"task"|null,"hyperparameters":{…}}
 *     → the contract's preview
 *   dataset.report    {"data":DATA,"other":null|DATA,"model":null|MODEL}
 *     → the contract's report; chunks are {"progress":0..1}, the first one with "plan":
 *     {"rows","bytes","near"}
 *   model.inspect     {"path"}
 *     → {"family","format","quantisation","parameters","context","vocab","tasks",
 *        "chat_template","sha256","bytes"}
 *   job.plan          the inputs, opened:
 *                     "model":FILE(MODEL), "train":FILE(DATA)+{"weight"}, "more":[the same, …],
 *                     "validation":null|FILE(DATA)|{"fraction":F}|"none"|"auto"|
 *                     {"fold","folds","group_by","seed"},
 *                     "test":null|FILE(DATA), "verify_on":absent|[FILE(MODEL), …],
 *                     "init":null|{"path" of a checkpoint's state.safetensors,"job","step"},
 *                     the request's own fields of the parts PLAN, RUN and GIVEN of
 *                     job_request.def, each null where it is not given,
 *                     and the machine:
 *                     "tokens":absent|{"folder","bytes"} where tokenised rows are kept
 *                     (host.tokens names this run's), "memory_bytes","threads","now":"2026-01-31"
 *     → {"run":{the specification's run part},"host":{…},"task","method",
 *        "hyperparameters":{all, resolved},"auto":{name:why},"validation":{"rows",…},
 *        "counts":{"rows","used","dropped","truncated","target_tokens","left_out"},
 *        "warnings":[{"code","message"}],"plan":{"peak_bytes","micro_batch_tokens","recompute"},
 *        "dry_run":{the contract's, without "fits" and "available_bytes"}}
 *     The run part names its inputs `inputs/model.gguf` (or `inputs/model`, a folder),
 *     `inputs/train`, `inputs/validation`, `inputs/test` and `inputs/init.safetensors`; the daemon
 *     links them there.
 *   predict           {"model":MODEL,"source":null|{"run_dir","step":"exported"|"best"|"last"|N},
 *                      "inputs":[…],"max_tokens","temperature","top_p","top_k","seed","stop",
 *                      "stream":bool,"first":absent|N}
 *     → {"data":[…]}; chunks are {"index","text"}. After a pause "data" answers the first inputs
 *     only and "paused" is true: the others are asked for again, with "first" saying how many came
 *     before.
 *   evaluate          {"model":MODEL,"source" as for predict,"data":DATA,
 *                      "generate":null|bool|{"max_tokens","stop"},"rows_to":null|path,
 *                      "scores_to":null|path}
 *     → {"rows","dropped","truncated","metrics":{"loss",…},"labels","confusion",
 *        "answered" where answers were written}; chunks are {"answered"}. The new file `rows_to`
 *     gets every row as a line of JSON: {"line", its columns, "predicted","correct","loss", …}; the
 *     file `scores_to` what each row scored, for compare
 *   export            {"model":MODEL,"source":{"run_dir","step":N},"to"}: into the new folder `to`,
 *                     with the same list in its manifest.json
 *     → {"files":[{"path","kind","size","sha256","verified":null}]}
 *   compare           {"sets":[{"name","path" of a score file (scores/<step>.bin)}, …],
 *                      "metric":null|"accuracy"|"f1_macro"|"mcc"|"r2"|"loss"|…, "seed":0}
 *     → {"rows","metric","lower_is_better","results":[{"name","value","interval":[low,high]}],
 *        "pairs":[{"a","b","difference","interval","p","p_adjusted","test","verdict"}]}
 *     A metric of null is the objective's own. difference is a's value less b's; a verdict is
 *     "better", "worse" (a than b) or "no difference shown", at 5 % for all pairs together.
 *     "conflict" where two sets are of other rows.
 *   compare           {"oof":[paths of the folds' score files], "metric","seed" as above,
 *                      "labels":null|[names],"rows_to":null|path,"suspects_first":false}
 *     → {"rows","metric","lower_is_better","value","interval","folds":[{"rows","value"}],
 *        "label_errors":{"flagged","noise_rate","joint_rate","estimated","lines":[at most 100]}}:
 *     the metric of all folds' rows together, and of classes how many labels are wrong
 *     (tune/label_errors.h). The new file `rows_to` gets every row as a line of JSON:
 *     {"line","fold","loss","score", and what the objective has of
 *     "right","label","predicted","p","value","truth"}; with suspects_first
 *     by score, the largest first: what the model leaves to other labels, or how far a value is
 *     off, or the loss
 *   examples          {"run_dir","sort":null|"mislabelled"|"hard"|"forgotten"|"memorised"|"line",
 *                      "epoch":null|N,"step":null|N,"after":0,"limit":20}
 *     → {"data":[{"line","text","label","predicted","losses":[of the kept epochs],"margins",
 *        "score","why","truncated","part"}],"next","rows","every"}: training rows with what they
 *     cost, as the run stood after epoch N; or the rows of a step. Every `every`-th epoch is kept.
 *   fit               {"run_dir"}
 *     → {"verdict","summary","rule","evidence":[{"code","value","interval","verdict","rule",
 *        "message"}],"best_step","best_gain","advice","change":null|{fields of a request to change,
 *        null: to leave out},"provisional"}
 *   machine.rate      {"threads"}
 *     → {"kernels","product","products","copy","copies"}: operations a second in matmuls
 *     and bytes a second copied, of one thread and of all at once
 */
int hn_helper_serve(int fd);

#endif
