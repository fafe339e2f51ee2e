# root: full
# timeout: 200
# Node: timers, promises, files, child processes, workers, crypto.
cd /tmp
node -e 'console.log([1, 2, 3].map(x => x * x).join(" "), process.versions.node.split(".")[0])'
node -e 'setTimeout(() => console.log("timer"), 500); setImmediate(() => console.log("immediate")); Promise.resolve().then(() => console.log("promise")); process.nextTick(() => console.log("tick"))'
node -e 'const fs = require("fs"); fs.writeFileSync("n", "x".repeat(100000)); fs.promises.readFile("n").then(d => { console.log(d.length); fs.unlinkSync("n"); console.log(fs.existsSync("n")) })'
node -e 'const { execSync, spawn } = require("child_process"); console.log(execSync("echo child").toString().trim()); const c = spawn("cat"); c.stdout.on("data", d => console.log(d.toString())); c.on("close", n => console.log("closed", n)); c.stdin.end("piped")'
node -e 'const { Worker, isMainThread, parentPort } = require("worker_threads"); const w = new Worker("require(\"worker_threads\").parentPort.postMessage(6 * 7)", { eval: true }); w.on("message", m => console.log("worker", m))'
node -e 'const c = require("crypto"); console.log(c.createHash("sha256").update("x").digest("hex").slice(0, 16)); c.pbkdf2("p", "s", 1000, 16, "sha1", (e, k) => console.log(k.toString("hex")))'
node -e 'process.on("SIGUSR2", () => { console.log("signal"); process.exit(5) }); setTimeout(() => {}, 5000); process.kill(process.pid, "SIGUSR2")'; echo "code $?"
node -e 'const net = require("net"); const s = net.createServer(c => c.end("hi")).listen("/tmp/node.sock", () => net.connect("/tmp/node.sock").on("data", d => { console.log(d.toString()); s.close() }))'
node -e 'throw new Error("x")' 2>/dev/null; echo "code $?"
