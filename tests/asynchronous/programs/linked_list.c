/* Walks over a linked list, again and again: registers and most memory repeat. */
#include "landing.h"

struct node {
    struct node *next;
    uint64_t value;
};
static struct node nodes[5000];
static volatile uint64_t walks, sum;

int main(int argc, char **argv)
{
    for (unsigned i = 0; i < 5000; i++) {
        nodes[i * 7 % 5000].next = i < 4999 ? &nodes[(i + 1) * 7 % 5000] : NULL;
        nodes[i].value = i & 3;
    }
    land(argc, argv, on_landing);
    while (!enough()) {
        uint64_t found = 0;

        for (struct node *n = nodes; n; n = n->next)
            found += n->value;
        sum += found;
        walks++;
    }
    mix(walks);
    mix(sum);
    say_landings();
    return 0;
}
