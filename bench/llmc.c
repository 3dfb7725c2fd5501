/*
 * llm.c's trainer (its train_gpt2.c as of April 2024) with both matmul functions through BLAS: the
 * peer of bench/gpt2.py, built by bench/run.sh. Nothing else of it is changed; its own two
 * functions are renamed to llmc_loops_… in the copy that is included here.
 *
 *   llmc BATCH LENGTH STEPS     GPT-2's smallest shape, random weights and tokens; a line a step,
 *   "… N tokens/s"
 */
#include <cblas.h>

static void matmul_forward(
    float *out, float *inp, float *weight, float *bias, int B, int T, int C, int OC) {
    cblas_sgemm(
        CblasRowMajor, CblasNoTrans, CblasTrans, B * T, OC, C, 1, inp, C, weight, C, 0, out, OC);
    if (!bias)
        return;
#pragma omp parallel for
    for (int n = 0; n < B * T; n++)
        for (int o = 0; o < OC; o++)
            out[n * OC + o] += bias[o];
}

static void matmul_backward(float *dinp, float *dweight, float *dbias, float *dout, float *inp,
    float *weight, int B, int T, int C, int OC) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, B * T, C, OC, 1, dout, OC, weight, C, 1,
        dinp, C);
    cblas_sgemm(
        CblasRowMajor, CblasTrans, CblasNoTrans, OC, C, B * T, 1, dout, OC, inp, C, 1, dweight, C);
    for (int n = 0; dbias && n < B * T; n++)
        for (int o = 0; o < OC; o++)
            dbias[o] += dout[n * OC + o];
}

#define TESTING /* leaves its main out */
#include "llmc_train_gpt2.c"

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Its model comes from a file: one of zeros, filled afterwards. */
static void make_model(GPT2 *model) {
    int header[256] = {20240326, 1, 1024, 50257, 12, 12, 768};
    char path[] = "/tmp/llmc-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, header, sizeof header) != sizeof header || ftruncate(fd, 1 << 29))
        exit(1);
    gpt2_build_from_checkpoint(model, path);
    unlink(path);
    close(fd);
    for (size_t i = 0; i < model->num_parameters; i++)
        model->params_memory[i] = 0.07f * ((float)rand() / (float)RAND_MAX - 0.5f);
    for (int i = 0; i < 12 * 768; i++)
        model->params.ln1w[i] = model->params.ln2w[i] = 1;
    for (int i = 0; i < 768; i++)
        model->params.lnfw[i] = 1;
}

int main(int argc, char **argv) {
    if (argc != 4)
        return 2;
    int B = atoi(argv[1]), T = atoi(argv[2]), steps = atoi(argv[3]);
    int *inputs = calloc(B * T, sizeof *inputs), *targets = calloc(B * T, sizeof *targets);
    GPT2 model;
    make_model(&model);
    for (int step = 1; step <= steps; step++) {
        for (int i = 0; i < B * T; i++) {
            inputs[i] = rand() % 50257;
            targets[i] = rand() % 50257;
        }
        double began = seconds();
        gpt2_forward(&model, inputs, targets, B, T);
        gpt2_zero_grad(&model);
        gpt2_backward(&model);
        gpt2_update(&model, 1e-4f, 0.9f, 0.999f, 1e-8f, 0.0f, step);
        printf("step %d loss %.4f %.1f tokens/s\n", step, model.mean_loss,
            B * T / (seconds() - began));
        fflush(stdout);
    }
    gpt2_free(&model);
    free(inputs);
    free(targets);
    return 0;
}
