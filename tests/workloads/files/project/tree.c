#include "project.h"
#include <stdlib.h>

struct tree *tree_insert(struct tree *tree, unsigned long key)
{
    if (!tree) {
        tree = calloc(1, sizeof *tree);
        if (!tree)
            abort();
        tree->key = key;
    } else if (key < tree->key) {
        tree->left = tree_insert(tree->left, key);
    } else if (key > tree->key) {
        tree->right = tree_insert(tree->right, key);
    }
    return tree;
}

size_t tree_depth(const struct tree *tree)
{
    if (!tree)
        return 0;
    size_t left = tree_depth(tree->left), right = tree_depth(tree->right);
    return 1 + (left > right ? left : right);
}

void tree_free(struct tree *tree)
{
    if (!tree)
        return;
    tree_free(tree->left);
    tree_free(tree->right);
    free(tree);
}
