# needs: ffmpeg
ffmpeg -v error -f lavfi -i testsrc=duration=1:size=160x120:rate=10 -threads 2 -y o.mkv 2>&1; ls -l o.mkv | wc -l; ffmpeg -version | head -1
