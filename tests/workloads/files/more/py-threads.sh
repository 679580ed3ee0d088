# needs: python3
python3 - <<'X'
import threading,queue,random,time,hashlib,concurrent.futures as f
q=queue.Queue(5); out=[]
def w():
    while (x:=q.get()) is not None: out.append(hashlib.sha256(str(x).encode()*2000).hexdigest()[:4])
ts=[threading.Thread(target=w) for _ in range(4)]
[t.start() for t in ts]; [q.put(i) for i in range(200)]; [q.put(None) for _ in ts]; [t.join() for t in ts]; print(''.join(out)[:60])
n=0
def inc():
    global n
    for i in range(200000): n+=1
ts=[threading.Thread(target=inc) for _ in range(3)]; [t.start() for t in ts]; [t.join() for t in ts]; print(n)
X
