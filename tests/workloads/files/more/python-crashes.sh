# needs: python3
python3 -c 'import faulthandler,signal,os,sys,gc,tracemalloc; tracemalloc.start(); faulthandler.enable(); import ctypes; print(gc.collect()>=0); os.abort()' ; echo $?; python3 -c 'import ctypes; ctypes.string_at(0)'; echo $?; python3 -X importtime -c 'import json' 2>&1 | wc -l
