# root: full
# timeout: 400
# The JVM: version, a compiled Hello, threads, files, garbage collection.
cd /tmp
java -version 2>&1 | head -n 1 | cut -d' ' -f1,2
cat >Hello.java <<'END'
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.stream.*;

public class Hello {
    public static void main(String[] args) throws Exception {
        System.out.println("Hello " + args.length);
        ExecutorService pool = Executors.newFixedThreadPool(4);
        List<Future<Integer>> parts = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            final int n = i;
            parts.add(pool.submit(() -> { Thread.sleep(2); return n * n; }));
        }
        int sum = 0;
        for (Future<Integer> part : parts) sum += part.get();
        pool.shutdown();
        System.out.println(sum + " " + pool.awaitTermination(5, TimeUnit.SECONDS));
        Path file = Files.createTempFile("java", "test");
        Files.write(file, new byte[100000]);
        System.out.println(Files.size(file));
        Files.delete(file);
        long made = 0;
        for (int i = 0; i < 2000; i++) made += new byte[100000].length;
        System.gc();
        System.out.println(made);
        System.out.println(IntStream.range(0, 100000).parallel().filter(x -> x % 7 == 0).count());
        Process p = new ProcessBuilder("echo", "child of java").redirectErrorStream(true).start();
        System.out.print(new String(p.getInputStream().readAllBytes()));
        System.out.println(p.waitFor());
        try { Object o = null; o.toString(); } catch (NullPointerException e) { System.out.println("caught"); }
        System.exit(3);
    }
}
END
javac Hello.java && java -Xmx256m Hello a b; echo "code $?"
java -XX:+UseSerialGC Hello | head -n 1
