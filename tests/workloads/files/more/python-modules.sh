# needs: python3
python3 -c '
import random,uuid,time,os,tempfile,subprocess,multiprocessing,threading,asyncio,sqlite3,ctypes,ssl,hashlib,select,signal,mmap,concurrent.futures as cf,shutil,zlib,lzma,json,email,urllib.request,logging,curses,decimal,fcntl,resource
print(random.random(),uuid.uuid1(),uuid.uuid4(),time.time(),os.urandom(3),tempfile.mkdtemp())
with cf.ThreadPoolExecutor(4) as e: print(list(e.map(lambda i:i*i,range(20))))
with multiprocessing.get_context("fork").Pool(3) as p: print(p.map(abs,range(-5,5)))
print(ssl.OPENSSL_VERSION, resource.getrusage(0).ru_maxrss>0)
m=mmap.mmap(-1,8192); m[:5]=b"hello"
if os.fork()==0:
  m[:5]=b"HELLO"; os._exit(0)
os.wait(); print(m[:5])
async def a():
  p=await asyncio.create_subprocess_exec("echo","x",stdout=-1); print(await p.communicate())
  await asyncio.gather(*(asyncio.sleep(0.01*i) for i in range(5)))
asyncio.run(a())
'
