#include "project.h"
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    struct tree *tree = NULL;
    for (unsigned i = 1; i <= 500; i++) {
        char *text = repeat("ab", i);
        tree = tree_insert(tree, hash(text));
        free(text);
    }
    printf("depth %zu\n", tree_depth(tree));
    tree_free(tree);
    return 0;
}
