# needs: java javac
cat > H.java <<'X'
import java.util.*;
public class H { public static void main(String[] a) throws Exception { Map<Integer,byte[]> m=new HashMap<>(); for(int i=0;i<20000;i++){ m.put(i%500,new byte[2000+i%1000]); if(i%5000==0) Thread.sleep(1);} int s=0; for(var e:m.entrySet()) s+=e.getValue().length; System.out.println(s); Thread t=new Thread(()->{ while(!Thread.interrupted()); System.out.println("int"); }); t.start(); Thread.sleep(20); t.interrupt(); t.join(); Object o=new Object(); synchronized(o){o.wait(5);} new Thread(()->{throw new RuntimeException("x");}).start(); try{ int[] z=null; z[0]=1; }catch(NullPointerException e){System.out.println("npe");} } }
X
javac H.java && java -XX:+UseG1GC -Xmx64m H; java -XX:+UseParallelGC H 2>/dev/null; java -Xint H 2>/dev/null
