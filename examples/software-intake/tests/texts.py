"""Licence texts for tests: the parts that identify them, with the line breaks and marks that real files have."""

MIT = """The MIT License (MIT)

Copyright (c) 2019 Ada Example

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND.
"""

MIT_0 = MIT.replace(", subject to the following conditions:\n\nThe above copyright notice and this permission notice shall "
                    "be included in all\ncopies or substantial portions of the Software.", ".")

BSD_1 = """Copyright 2021 Ben Example. All rights reserved.

Redistribution and use in source and binary forms, with or without
modification, are permitted provided that the following conditions are met:

1. Redistributions of source code must retain the above copyright notice, this
   list of conditions and the following disclaimer.
"""
BSD_2 = BSD_1 + """2. Redistributions in binary form must reproduce the above copyright notice,
   this list of conditions and the following disclaimer in the documentation.
"""
BSD_3 = BSD_2 + """3. Neither the name of the copyright holder nor the names of its contributors
   may be used to endorse or promote products derived from this software.
"""
BSD_4 = BSD_3 + """4. All advertising materials mentioning features or use of this software must
   display the following acknowledgement.
"""

ISC = """Copyright © 2020 Cleo Example

Permission to use, copy, modify, and/or distribute this software for any
purpose with or without fee is hereby granted, provided that the above
copyright notice and this permission notice appear in all copies.
"""
ZERO_BSD = ISC.replace(", provided that the above\ncopyright notice and this permission notice appear in all copies", "")

APACHE = """                              Apache License
                        Version 2.0, January 2004
                     http://www.apache.org/licenses/

TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION

1. Definitions.
3. Grant of Patent License. Subject to the terms and conditions of this License,

   Copyright [yyyy] [name of copyright owner]
"""
APACHE_NOTICE = """Licensed under the Apache License, Version 2.0 (the "License");
you may not use this file except in compliance with the License.
"""
LLVM = "---- LLVM Exceptions to the Apache 2.0 License ----\n\nAs an exception, if, as a result of your compiling your source code,"

ZLIB = """This software is provided 'as-is', without any express or implied warranty.
1. The origin of this software must not be misrepresented;
2. Altered source versions must be plainly marked as such.
"""
UNLICENSE = "This is free and unencumbered software released into the public domain."
MPL = "Mozilla Public License Version 2.0\n\n1.4. \"Covered Software\"\n1.7. \"Larger Work\"\n"
GPL_3 = """                    GNU GENERAL PUBLIC LICENSE
                       Version 3, 29 June 2007

 Copyright (C) 2007 Free Software Foundation, Inc. <https://fsf.org/>
  "The Program" refers to any copyrightable work licensed under this License.
  13. Use with the GNU Affero General Public License.
"""
AGPL_3 = """                    GNU AFFERO GENERAL PUBLIC LICENSE
                       Version 3, 19 November 2007
  "The Program" refers to any copyrightable work licensed under this License.
  13. Remote Network Interaction; Use with the GNU General Public License.
"""
LGPL_21 = "                  GNU LESSER GENERAL PUBLIC LICENSE\n                       Version 2.1, February 1999\n"
POINTER = "This project is dual-licensed under the Unlicense and MIT licenses.\n"
