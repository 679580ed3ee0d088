struct opaque;
struct request {
    const char *name;
    unsigned long length;
    struct request *parent;
    int depth;
};
struct opaque *make(int number);
int handle(struct request *request, int number);
extern int exported;
extern __thread long shown_to_all;
