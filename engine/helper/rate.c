/* machine.rate: what matmuls and copies of memory reach here, with one thread and with all of them
 * at once. */
#include "engine/kernels/blas.h"
#include "engine/helper/call.h"
#include "engine/base/json.h"
#include "engine/kernels/pool.h"
#include "engine/kernels/rate.h"

#define THREADS_MAX 1024

struct measured {
    double product[THREADS_MAX], copy[THREADS_MAX];
};

static void measure(void *context, size_t task, unsigned thread) {
    struct measured *m = context;
    (void)thread;
    m->product[task] = hn_rate_product();
    m->copy[task] = hn_rate_copy();
}

int hn_helper_machine_rate(
    struct hn_helper_call *call, const json_t *params, json_t **ret, struct hn_error *err) {
    struct measured *m = hn_calloc(1, sizeof *m);
    struct hn_pool *pool = NULL;
    int64_t threads = 1;
    double product = 0, copy = 0;
    (void)call;
    int rc = m ? hn_json_int(params, "threads", 1, THREADS_MAX, &threads, err)
               : hn_fail(err, HN_E_INTERNAL, "out of memory");
    if (!rc)
        rc = hn_blas_open(err); /* before the threads, which would all want to */
    if (!rc)
        rc = hn_pool_create((unsigned)threads, &pool, err);
    if (!rc) {
        double one = hn_rate_product(), alone = hn_rate_copy();
        hn_pool_run(pool, (size_t)threads, measure, m);
        for (int64_t i = 0; i < threads; i++) {
            product += m->product[i];
            copy += m->copy[i];
        }
        *ret = json_pack("{s:s, s:f, s:f, s:f, s:f}", "kernels", hn_blas_name(), "product", one,
            "products", product, "copy", alone, "copies", copy);
    }
    hn_pool_destroy(pool);
    free(m);
    return rc;
}
