long plugin_site(long n)
{
    return n + 1;
}
