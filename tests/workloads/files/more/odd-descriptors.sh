# needs: python3
python3 - <<'X'
import os,ctypes,mmap,select,socket,struct,fcntl,signal,time,sys,errno
fd=os.memfd_create('a',os.MFD_ALLOW_SEALING); os.write(fd,b'x'*5000); fcntl.fcntl(fd,1033,8); open('f0','w').write('q'*500); m=mmap.mmap(fd,4096,mmap.MAP_PRIVATE); print(m[:3])
try: os.write(fd,b'y'*10)
except OSError as e: print(e)
libc=ctypes.CDLL(None,use_errno=True)
print(libc.syscall(425,8,ctypes.create_string_buffer(200)), ctypes.get_errno()==errno.ENOSYS)
i=libc.inotify_init1(0); libc.inotify_add_watch(i,b'.',0xfff); open('f','w').write('z'); print(len(os.read(i,4096))>0)
a,b=socket.socketpair(); socket.send_fds(a,[b'hi'],[fd]); print(socket.recv_fds(b,10,3)[0])
tfd=libc.timerfd_create(1,0); libc.timerfd_settime(tfd,0,struct.pack('qqqq',0,1000000,0,1000000),None); print(len(os.read(tfd,8)))
ep=select.epoll(); ep.register(tfd,1); print(len(ep.poll(1)))
pid=os.posix_spawn('/bin/echo',['echo','spawned'],os.environ); print(os.waitpid(pid,0)[1])
pfd=os.pidfd_open(os.getpid()); print(pfd>0); ef=os.eventfd(3); print(os.eventfd_read(ef))
os.copy_file_range(os.open('f0',0),os.open('g',os.O_RDWR|os.O_CREAT),100); print(os.stat('g').st_size); r,w=os.pipe(); print(os.splice(os.open('g',0),w,50)); 
print(os.sched_getaffinity(0)==os.sched_getaffinity(os.getpid()), os.getloadavg()[0]>=0, os.cpu_count()>0)
libc.prctl(15,b'named',0,0,0); print(open('/proc/self/comm').read().strip()); print(open('/proc/self/maps').read().count('\n')>5, len(open('/proc/self/stat').read())>10)
sig=signal.sigtimedwait([signal.SIGUSR2],0.01); print(sig); signal.pthread_sigmask(0,[signal.SIGUSR2]); os.kill(os.getpid(),signal.SIGUSR2); print(signal.sigwaitinfo([signal.SIGUSR2]).si_signo)
signal.setitimer(signal.ITIMER_REAL,0.02); signal.signal(signal.SIGALRM,lambda *a:print('alrm')); 
x=0
t=time.time()
while time.time()-t<0.05: x+=1
signal.signal(signal.SIGVTALRM,lambda *a:print('vt')); signal.setitimer(signal.ITIMER_VIRTUAL,0.02)
for i in range(3000000): pass
print(os.preadv(fd,[bytearray(3),bytearray(4)],1))
X
