/*
 * Which training rows a run uses, of those that no validation takes: what a job's field `rows`
 * says. Lines are left out first, then rows at random, then all but a share or a number.
 */
#ifndef HN_ENGINE_DATA_CHOICE_H
#define HN_ENGINE_DATA_CHOICE_H

#include "engine/data/dataset.h"
#include "engine/data/labels.h"

struct hn_row_choice {
    const json_t *json;    /* as it was sent, or NULL: all rows; borrowed */
    const json_t *exclude; /* list of lines, or NULL */
    double share;          /* of the rows, in (0, 1]; 1: all */
    int64_t count;         /* of rows; 0: not given */
    int64_t random_out;    /* rows that are left out */
    int64_t seed;
    bool diverse; /* the share or number are those that add most that is new (diverse.h) */
};

/* Lines of one data set (from 0), or numbers of its rows (from 1), both included. */
struct hn_lines {
    uint64_t part, first, last;
    bool numbers; /* of rows: for files with many rows in a line */
};
/* 12, "12", "12-20" or "2:12-20", of rows "#12", "#12-20" or "2:#12-20"; false for all else. */
bool hn_lines_read(const json_t *entry, struct hn_lines *ret);
/* The rows of the first file that it names: *ret_begin … *ret_end - 1. */
void hn_lines_rows(const struct hn_lines *lines, const struct hn_dataset *data, size_t *ret_begin,
    size_t *ret_end);

/* What was left out. */
struct hn_left_out {
    uint64_t excluded, random, unchosen; /* rows: by line, at random, beyond the share */
    uint64_t idle;                       /* entries of exclude that no training row is of */
};

/* All rows that were left out. */
static inline size_t hn_left_out_count(const struct hn_left_out *out) {
    return (size_t)(out->excluded + out->random + out->unchosen);
}

/* {"exclude":[12,"20-30","2:7"],"random_out":M,"share":F or "count":N,"seed":S or "diverse":true},
 * each where it is wanted; lines as messages tell them, behind "D:" those of data set D. NULL, null
 * and {} choose all. Errors name the field. */
int hn_row_choice_read(struct hn_row_choice *ret, const json_t *json, struct hn_error *err);
/* Takes the excluded lines out of rows[*n]. */
int hn_row_choice_exclude(const struct hn_row_choice *choice, const struct hn_dataset *data,
    size_t *rows, size_t *n, struct hn_left_out *out, struct hn_error *err);
/*
 * Leaves the share or number of rows[*n] (sorted), less those left out at random. Of two shares, or
 * numbers, of the same rows and seed the smaller is a part of the larger; the rows are stratified
 * by class where there are classes (labels may be NULL).
 */
int hn_row_choice_draw(const struct hn_row_choice *choice, const struct hn_dataset *data,
    const struct hn_labels *labels, size_t *rows, size_t *n, struct hn_left_out *out,
    struct hn_error *err);
/* About how many of so many rows stay. */
double hn_row_choice_estimate(const struct hn_row_choice *choice, double rows);

#endif
