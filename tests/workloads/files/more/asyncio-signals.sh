# needs: python3
python3 - <<'X'
import asyncio,signal,os,threading,time,queue,socket,selectors,multiprocessing.shared_memory as sm
async def main():
    l=asyncio.get_running_loop(); e=asyncio.Event(); l.add_signal_handler(signal.SIGUSR1,e.set)
    threading.Timer(0.05,lambda:os.kill(os.getpid(),signal.SIGUSR1)).start()
    await e.wait(); print('signalled')
    srv=await asyncio.start_server(lambda r,w:(w.write(b'x'*100000),w.close()),'127.0.0.1',0)
    p=srv.sockets[0].getsockname()[1]
    async def c():
        r,w=await asyncio.open_connection('127.0.0.1',p); d=await r.read(); w.close(); return len(d)
    print(sum(await asyncio.gather(*[c() for _ in range(30)])))
    print(await asyncio.to_thread(time.sleep,0.01))
asyncio.run(main())
s=sm.SharedMemory(create=True,size=1000); s.buf[0]=7
pid=os.fork()
if pid==0:
    t=sm.SharedMemory(name=s.name); t.buf[0]+=1; t.close(); os._exit(0)
os.waitpid(pid,0); print(s.buf[0]); s.close(); s.unlink()
X
