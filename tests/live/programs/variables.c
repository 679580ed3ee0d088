/* Variables of all kinds.  At `here` they have the values that the program then prints itself,
   named as conditions name them. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOW(text, value) printf("%s=%lld\n", text, (long long)(value))

enum color { RED = -4, GREEN, BLUE = 70 };
enum big { SMALLEST, LARGEST = 0xfffffff0u };
typedef unsigned char byte;
typedef struct node {
    struct node *next;
    int value;
    enum color color;
    short numbers[3][4];
    const char *name;
} node_t;

struct flags {
    unsigned one : 1;
    unsigned three : 3;
    int minus : 5;
    signed char : 0;
    unsigned long long wide : 41;
    long long low : 19;
    bool yes : 1;
    enum color tint : 8;
};

struct __attribute__((packed)) tight {
    byte a;
    int b;
    unsigned long long field : 61;
    unsigned long long across : 63;
    short c;
};

struct shape {
    int kind;
    union {
        int whole;
        float real;
        struct {
            short x, y;
        };
        byte raw[4];
    };
    struct {
        long inner;
    } named;
};

struct pair {
    long first;
    int second;
};

struct large {
    long words[5];
};

/* their names are registers' and the language's */
static volatile int ax = 11, hits = -12;
static volatile int from = 13;

static volatile int counter = -5;
unsigned shared = 4000000000u;
volatile bool flag = true;
double real = 1.5;
static __thread volatile int local_to_thread = 17;
__thread long exported_to_thread = -18;
node_t nodes[3];
node_t *head = &nodes[1];
struct flags flags;
struct tight tight;
struct shape shape;
struct shape *where = &shape;
char text[] = "conditions";
char *words[] = {"first", "second", NULL};
signed char negative = -1;
byte unsigned_byte = 255;
uint16_t sixteen = 65535;
int64_t lowest = INT64_MIN;
uint64_t highest = UINT64_MAX;
__int128 huge = 5;
__attribute__((noinline)) int twice(int number)
{
    return 2 * number;
}
int (*function)(int) = twice;
void *nothing = NULL;
size_t lengths[4] = {1, 20, 300, 4000};
const int constant = 99;
enum big largest = LARGEST;
const volatile struct pair limits[2] = {{-1, -2}, {-3, -4}};

__attribute__((noinline)) long at_entry(int count, struct pair by_value, char letter, float f,
                                        struct large on_stack, unsigned short u, node_t *node,
                                        bool yes, long sixth, int seventh, enum color color)
{
    return count + by_value.first + by_value.second + letter + (long)f + on_stack.words[2] + u +
           node->value + yes + sixth + seventh + color;
}

__attribute__((noinline)) int work(node_t *node, int count, char letter, unsigned long bits,
                                   struct pair pair, short six, int seven, char **list)
{
    static int calls = 40;
    int doubled = count * 2, row[3] = {count, -count, 7};
    unsigned char small = (unsigned char)bits;
    struct pair copy = {pair.first + 1, pair.second - 1};
    enum color color = node->color;
    size_t index = (size_t)(count & 1) + 1;
    int sum = doubled + small + calls++;

    {
        int doubled = -count * 3; /* hides the other one */
        long before = sum;

        __asm__ volatile(".globl here\nhere: nop"
                         : "+m"(row), "+m"(copy)
                         : "r"(node), "r"(count), "r"((long)letter), "r"(bits), "r"(doubled)
                         : "memory");
        SHOW("doubled", doubled);
        SHOW("before", before);
        SHOW("-doubled // 2", -doubled / 2);
    }
    SHOW("count", count);
    SHOW("count < 0", count < 0);
    SHOW("letter", letter);
    SHOW("bits", bits);
    SHOW("small", small);
    SHOW("pair.first", pair.first);
    SHOW("pair.second", pair.second);
    SHOW("copy.first", copy.first);
    SHOW("copy.second", copy.second);
    SHOW("six", six);
    SHOW("seven", seven);
    SHOW("calls", calls);
    SHOW("row[0]", row[0]);
    SHOW("row[index]", row[index]);
    SHOW("list[1][2]", list[1][2]);
    SHOW("list[2] == 0", list[2] == NULL);
    SHOW("color", color);
    SHOW("color == RED", color == RED);
    SHOW("node.value", node->value);
    SHOW("node.next.value", node->next->value);
    SHOW("node.next.next.numbers[1][2]", node->next->next->numbers[1][2]);
    SHOW("node.numbers[index][3]", node->numbers[index][3]);
    SHOW("node[1].value", node[1].value);
    SHOW("(node + 1).value", (node + 1)->value);
    SHOW("(node + index).color", (node + index)->color);
    SHOW("node - nodes", node - nodes);
    SHOW("node.name[1]", node->name[1]);
    SHOW("node == addr(nodes[0])", node == &nodes[0]);
    SHOW("addr(node.value) - addr(node.next.value)", &node->value - &node->next->value);
    SHOW("counter", counter);
    SHOW("counter < 0", counter < 0);
    SHOW("shared", shared);
    SHOW("shared > 3999999999", shared > 3999999999u);
    SHOW("flag", flag);
    SHOW("not flag", !flag);
    SHOW("local_to_thread", local_to_thread);
    SHOW("exported_to_thread", exported_to_thread);
    SHOW("nodes[2].value", nodes[2].value);
    SHOW("nodes[index].value", nodes[index].value);
    SHOW("head.value", head->value);
    SHOW("head[-1].value", head[-1].value);
    SHOW("flags.one", flags.one);
    SHOW("flags.three", flags.three);
    SHOW("flags.minus", flags.minus);
    SHOW("flags.wide", flags.wide);
    SHOW("flags.low", flags.low);
    SHOW("flags.yes", flags.yes);
    SHOW("flags.tint", flags.tint);
    SHOW("tight.a", tight.a);
    SHOW("tight.b", tight.b);
    SHOW("tight.field", tight.field);
    SHOW("tight.across", tight.across);
    SHOW("tight.c", tight.c);
    SHOW("shape.whole", shape.whole);
    SHOW("shape.x", shape.x);
    SHOW("shape.y", shape.y);
    SHOW("shape.raw[3]", shape.raw[3]);
    SHOW("where.named.inner", where->named.inner);
    SHOW("text[4]", text[4]);
    SHOW("words[1][0]", words[1][0]);
    SHOW("negative", negative);
    SHOW("negative == -1", negative == -1);
    SHOW("unsigned_byte", unsigned_byte);
    SHOW("sixteen", sixteen);
    SHOW("lowest", lowest);
    SHOW("highest", highest);
    SHOW("highest > 5", highest > 5);
    SHOW("function == twice", function == twice);
    SHOW("nothing", nothing);
    SHOW("lengths[3]", lengths[3]);
    SHOW("constant", constant);
    SHOW("largest", largest);
    SHOW("largest == LARGEST", largest == LARGEST);
    SHOW("limits[1].second", limits[1].second);
    SHOW("var('ax')", ax);
    SHOW("var('hits')", hits);
    SHOW("var('from')", from);
    SHOW("var('work::calls')", calls);
    SHOW("var('::counter')", counter);
    SHOW("var('variables.c::counter')", counter);
    SHOW("sizeof(node_t)", sizeof(node_t));
    SHOW("sizeof('struct tight')", sizeof(struct tight));
    SHOW("sizeof(text)", sizeof(text));
    SHOW("sizeof('unsigned long [3]')", sizeof(unsigned long[3]));
    SHOW("cast('struct node *', node).color", ((struct node *)node)->color);
    SHOW("cast('node_t *', u64(addr(nodes)))[2].value", nodes[2].value);
    SHOW("cast('signed char', shared)", (signed char)shared);
    SHOW("cast('unsigned char *', text)[3]", ((unsigned char *)text)[3]);
    SHOW("cast('enum color', -3) == GREEN", (enum color)-3 == GREEN);
    SHOW("i32[counter]", counter);
    SHOW("u8[text + 2]", ((unsigned char *)text)[2]);
    SHOW("i32[u64(head) + 8]", head->value);
    return sum + (int)copy.first + copy.second + row[0];
}

int main(int argc, char **argv)
{
    for (int i = 0; i < 3; i++) {
        nodes[i].next = &nodes[(i + 1) % 3];
        nodes[i].value = i * 1000 - 1500;
        nodes[i].color = i == 1 ? BLUE : RED;
        nodes[i].name = words[i & 1];
        for (int j = 0; j < 12; j++)
            nodes[i].numbers[j / 4][j % 4] = (short)((i + 1) * (j - 6) * 100);
    }
    flags = (struct flags){1, 5, -9, 0x1ffffffffffull - 7, -200000, true, GREEN};
    tight = (struct tight){200, -77777, 0x1234567890abcdefull, 0x7edcba9876543210ull, -3};
    shape.kind = 1;
    shape.x = -2;
    shape.y = 3;
    shape.named.inner = -123456789012;
    struct pair pair = {-7, 8};
    struct large large = {{1, 2, -3, 4, 5}};
    int result = work(&nodes[0], argc - 2, (char)-3, 0x1ff, pair, -6, 77, words);
    long entry = at_entry(-2 * argc, pair, 'z', 2.5f, large, 65535, &nodes[2], true, 1l << 40, -7,
                          BLUE);
    printf("ended=%d\n", (int)(result + entry + (argv != NULL)));
    return 0;
}
