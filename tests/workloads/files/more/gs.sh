# needs: gs file
gs -q -dNOPAUSE -dBATCH -sDEVICE=png16m -sOutputFile=o.png -c '100 100 moveto 200 200 lineto stroke showpage'; file o.png
