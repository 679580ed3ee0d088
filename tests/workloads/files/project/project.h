/* A program of several files, to be compiled. */
#ifndef PROJECT_H
#define PROJECT_H
#include <stddef.h>

struct tree {
    struct tree *left, *right;
    unsigned long key;
};

struct tree *tree_insert(struct tree *tree, unsigned long key);
size_t tree_depth(const struct tree *tree);
void tree_free(struct tree *tree);
unsigned long hash(const char *text);
char *repeat(const char *text, unsigned times);
#endif
