// Code made at run time by HotSpot: two threads, a collected heap.
public class Jit {
    static volatile long shared;

    static long work(int rounds, long seed) {
        java.util.HashMap<Integer, Long> seen = new java.util.HashMap<>();
        long x = seed;
        for (int i = 0; i < rounds; i++) {
            for (int k = 0; k < 2000; k++) {
                x = (x * 31 + k) % 1000003;
            }
            seen.merge((int) (x % 997), x, Long::sum);
            shared = shared * 3 + seed;
        }
        return x + seen.size();
    }

    public static void main(String[] args) throws Exception {
        int rounds = (args.length > 0 ? Integer.parseInt(args[0]) : 25) * 100;
        long[] results = new long[2];
        Thread other = new Thread(() -> results[1] = work(rounds, 2));
        other.start();
        results[0] = work(rounds, 1);
        other.join();
        System.out.println(results[0] + " " + results[1] + " " + shared);
    }
}
