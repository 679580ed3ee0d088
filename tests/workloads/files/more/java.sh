# needs: java
cat > H.java <<'X'
import java.util.*; import java.util.concurrent.*;
public class H { public static void main(String[] a) throws Exception { System.out.println(System.nanoTime()+" "+new Random().nextInt()+" "+ProcessHandle.current().pid()); ExecutorService e=Executors.newFixedThreadPool(3); List<Future<Long>> f=new ArrayList<>(); for(int i=0;i<6;i++){final int k=i; f.add(e.submit(()->{long s=0; for(int j=0;j<300000;j++) s+=j^k; return s;}));} for(var x:f) System.out.println(x.get()); e.shutdown(); byte[][] g=new byte[200][]; for(int i=0;i<2000;i++) g[i%200]=new byte[100000]; System.gc(); System.out.println(g.length);} }
X
java H.java
