# needs: node
node -e 'const {Worker,isMainThread,parentPort}=require("worker_threads"); const w=new Worker("const {parentPort}=require(\"worker_threads\"); let s=0; for(let i=0;i<3e6;i++) s+=i%7; parentPort.postMessage(s)",{eval:true}); w.on("message",m=>console.log("got",m)); let k=0; const t=setInterval(()=>{ if(++k>5) clearInterval(t)},5)'
