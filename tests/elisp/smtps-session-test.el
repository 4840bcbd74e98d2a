;;; smtps-session-test.el --- Tests of the session buffer  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; The buffer is driven by keys.  In the first part the helper is a list of
;; what it was told, and the test says what happens; in the second it is the
;; real one, with the sandbox or a server of this Emacs behind it.

;;; Code:

(require 'ert)
(require 'cl-lib)
(require 'auth-source)
(require 'tmm)
(require 'smtps-session)
(require 'smtps-session-fake)

(defvar tmm-km-list)
(defvar tmm-table-undef)

;;;; Opening

(defun smtps-session-test-opened (&rest arguments)
  "Return the helper's arguments for a session opened with ARGUMENTS."
  (let ((buffer (apply #'smtps-session arguments)))
    (prog1 (cdr (assq 'session-open smtps-session-test-calls))
      (kill-buffer buffer))))

(ert-deftest smtps-session-test-host-and-port ()
  (smtps-session-test-with-helper
    (pcase-dolist (`(,arguments ,host ,port ,tls)
                   '((("a.test") "a.test" 465 nil)
                     ((" a.test ") "a.test" 465 nil)
                     (("a.test:587") "a.test" 587 nil)
                     (("a.test" 2525) "a.test" 2525 nil)
                     (("a.test" nil :tls starttls) "a.test" 587 starttls)
                     (("localhost" nil :tls none) "localhost" 25 none)
                     (("::1") "::1" 465 nil)
                     (("[::1]:587") "::1" 587 nil)
                     (("[::1]") "::1" 465 nil)))
      (let ((opened (apply #'smtps-session-test-opened arguments)))
        (should (equal (list (plist-get opened :host) (plist-get opened :port)
                             (plist-get opened :tls))
                       (list host port tls)))))
    (setq smtps-session-test-calls nil)
    (dolist (bad '("" "  " "a.test:" "a.test:x" "a.test:0" "a.test:65536" "a.test:123456"
                   ":465" "a.test:587:7" "a:b:c:test"))
      (should-error (smtps-session bad) :type 'user-error))
    (should-error (smtps-session "a.test" 0) :type 'user-error)
    (should-not smtps-session-test-calls)))

(ert-deftest smtps-session-test-an-account-gives-what-is-missing ()
  (smtps-session-test-with-helper
    (let ((smtps-accounts '(("a" :host "a.test" :port 2465 :tls implicit :ca-file "/ca.pem"))))
      (should (equal (smtps-session-test-opened "a.test")
                     '(:host "a.test" :port 2465 :tls implicit :ca-file "/ca.pem")))
      ;; At another port its way of TLS does not hold, nor its port for another
      ;; way.
      (should (equal (smtps-session-test-opened "a.test:587")
                     '(:host "a.test" :port 587 :tls nil :ca-file nil)))
      (should (equal (smtps-session-test-opened "a.test" nil :tls 'starttls)
                     '(:host "a.test" :port 587 :tls starttls :ca-file nil)))
      (should (equal (smtps-host-known) '("a.test:2465"))))
    ;; The port of an account that names none is its way's.
    (let ((smtps-accounts '(("a" :host "a.test" :tls starttls))))
      (should (equal (smtps-session-test-opened "a.test")
                     '(:host "a.test" :port 587 :tls starttls :ca-file nil)))
      (should (equal (smtps-session-test-opened "a.test:465")
                     '(:host "a.test" :port 465 :tls nil :ca-file nil))))
    (let ((smtps-accounts '(("a" :host "a.test" :client-certificate ("/c.pem" "/k.pem")
                             :send-in-clear t))))
      (should (equal (smtps-session-test-opened "a.test")
                     '(:host "a.test" :port 465 :tls implicit :ca-file nil
                             :client-certificate "/c.pem" :client-key "/k.pem"
                             :send-in-clear t))))
    ;; One server may have two accounts.
    (let ((smtps-accounts '(("a" :host "a.test") ("b" :host "a.test" :port 2525 :tls starttls))))
      (should (equal (smtps-session-test-opened "a.test:2525")
                     '(:host "a.test" :port 2525 :tls starttls :ca-file nil))))
    (let ((smtps-accounts '(("a" :host "a.test" :tls none))))
      (should-error (smtps-session "a.test") :type 'user-error))))

(ert-deftest smtps-session-test-asks-for-the-host ()
  (smtps-session-test-with-helper
    (execute-kbd-macro (vconcat (kbd "M-x") "smtps-session" (kbd "RET")
                                "mx.test:587" (kbd "RET")))
    (should (equal (buffer-name (window-buffer)) "*smtps mx.test:587*"))
    (execute-kbd-macro (vconcat (kbd "C-u M-x") "smtps-session" (kbd "RET")
                                "mx.test" (kbd "RET") "2525" (kbd "RET RET")))
    (should (equal (buffer-name (window-buffer)) "*smtps mx.test:2525*"))
    (should (equal smtps-session-history '("mx.test" "mx.test:587")))))

(ert-deftest smtps-session-test-asks-how-tls-begins ()
  "Where neither the port nor an account tells, or one wants to say it."
  (smtps-session-test-with-helper
    (cl-flet ((tls (prefix &rest words)
                (setq smtps-session-test-calls nil)
                (execute-kbd-macro
                 (apply #'vconcat (kbd (concat prefix "M-x")) "smtps-session\r"
                        (mapcar (lambda (word) (concat word "\r")) words)))
                (plist-get (cdr (assq 'session-open smtps-session-test-calls)) :tls)))
      (should (eq (tls "" "mx.test:2525" "star") 'starttls))
      (should (eq (tls "" "localhost:2525" "none") 'none))
      ;; RET alone is what was without the question.
      (should (eq (tls "" "mx.test:2525" "") 'implicit))
      (should-not (tls "" "mx.test"))
      (should-not (tls "" "mx.test:25"))
      (should (eq (tls "C-u " "mx.test:587" "" "") 'starttls))
      (should (eq (tls "C-u " "mx.test" "" "starttls") 'starttls))
      (let ((smtps-accounts '(("a" :host "mx.test" :port 2525 :tls starttls))))
        (should (eq (tls "" "mx.test:2525") 'starttls))
        (should (eq (tls "" "mx.test:2526" "none") 'none))))))

(ert-deftest smtps-session-test-several-at-once ()
  (smtps-session-test-with-helper
    (let ((one (smtps-session "mx.test"))
          (two (smtps-session "mx.test")))
      (should-not (eq one two))
      (with-current-buffer one (smtps-session-test-recv "220 one"))
      (with-current-buffer two (smtps-session-test-recv "220 two"))
      (with-current-buffer one
        (should (equal (smtps-session-test-text) "recv> 220 one\nsend> ")))
      (with-current-buffer two
        (should (equal (smtps-session-test-text) "recv> 220 two\nsend> "))
        (smtps-session-test-type "quit\r")
        (should (equal (car smtps-session-test-calls)
                       '(session-send :session 2 :line "quit")))))))

;;;; What arrives, and what is being typed

(ert-deftest smtps-session-test-a-half-typed-line-is-left-alone ()
  (smtps-session-test-with
    (smtps-session-test-recv "220 hi")
    (smtps-session-test-type "ehlo")
    (smtps-session-test-press "C-b C-b")
    (smtps-session-test-recv "421 bye")
    (should (equal (smtps-session-test-text) "recv> 220 hi\nrecv> 421 bye\nsend> ehlo"))
    (should (looking-at "lo"))
    (smtps-session-test-type "X")
    (should (string-suffix-p "send> ehXlo" (smtps-session-test-text)))))

(ert-deftest smtps-session-test-narrowed ()
  (smtps-session-test-with
    (smtps-session-test-recv "220 hi")
    (smtps-session-test-type "c2VjcmV0")
    (narrow-to-region (point-min) (+ (point-min) 4))
    (smtps-session-test-recv "334 UGFzc3dvcmQ6")
    (smtps-session-test-state 'authenticating 'password)
    (should-error (smtps-session-test-press "RET") :type 'user-error)
    (should-not (assq 'session-send smtps-session-test-calls))
    (should (equal (buffer-string) "recv"))
    (widen)
    (should (equal (smtps-session-test-hidden) "********"))
    (should (equal (smtps-session-test-text)
                   "recv> 220 hi\nrecv> 334 UGFzc3dvcmQ6\nsend> c2VjcmV0"))))

(ert-deftest smtps-session-test-nothing-is-typed-at-the-end-of-a-narrowing ()
  (smtps-session-test-with
    (switch-to-buffer (current-buffer))
    (smtps-session-test-recv "220 hi")
    (dolist (count '(4 6 9 13))
      (widen)
      (narrow-to-region (point-min) (+ (point-min) count))
      (goto-char (point-max))
      (should-error (smtps-session-test-type "x") :type 'text-read-only)
      (should (equal (smtps-session-test-text) (substring "recv> 220 hi\n" 0 count))))
    (widen)
    (goto-char (point-max))
    (smtps-session-test-type "x")
    (should (equal (smtps-session-test-text) "recv> 220 hi\nsend> x"))))

(ert-deftest smtps-session-test-the-window-follows-only-who-types ()
  (smtps-session-test-with
    (smtps-session-test-recv "220 hi")
    (let ((other (split-window)))
      (set-window-buffer other (current-buffer))
      (set-window-point other 3)
      (smtps-session-test-recv "250 next")
      (should (= (window-point other) 3))
      (should (= (point) (point-max)))
      ;; At the very start of the prompt, too.
      (goto-char smtps-session--prompt-start)
      (smtps-session-test-recv "250 more")
      (should (= (point) smtps-session--prompt-start)))))

(ert-deftest smtps-session-test-undo-still-fits-after-output ()
  (smtps-session-test-with
    (smtps-session-test-type "ab")
    (undo-boundary)
    (smtps-session-test-recv "220 hi")
    (smtps-session-test-type "cd")
    (undo-boundary)
    (smtps-session-test-press "C-b DEL")
    (smtps-session-test-recv "220 hi")
    (should (string-suffix-p "send> abd" (smtps-session-test-text)))
    (let ((shown (buffer-substring (point-min) smtps-session--prompt-start)))
      (smtps-session-test-press "C-/")
      (should (string-suffix-p "send> abcd" (smtps-session-test-text)))
      ;; Another command first: the undo of an undo does it again.
      (smtps-session-test-press "C-e C-/ C-/ C-/ C-/")
      (should (string-suffix-p "send> " (smtps-session-test-text)))
      (should (equal (buffer-substring (point-min) smtps-session--prompt-start) shown)))))

(ert-deftest smtps-session-test-undo-knows-nothing-of-what-arrives ()
  (smtps-session-test-with
    (smtps-session-test-recv "220 hi")
    (should-not buffer-undo-list)))

(ert-deftest smtps-session-test-what-is-shown-can-not-be-changed ()
  (smtps-session-test-with
    (smtps-session-test-recv "220 hi")
    (goto-char (point-min))
    (should-error (smtps-session-test-press "C-k") :type 'text-read-only)
    ;; What is typed up there goes behind the prompt.
    (smtps-session-test-type "noop")
    (should (equal (smtps-session-test-text) "recv> 220 hi\nsend> noop"))
    (smtps-session-test-press "C-a")
    (should (looking-at "noop"))
    (should-error (smtps-session-test-press "DEL"))))

(ert-deftest smtps-session-test-a-server-is-shown-never-obeyed ()
  (smtps-session-test-with
    (dolist (text '("Enter your mail password: " "^[[31mred" "#.(kill-emacs)" "a\rb" "\e[31m"))
      (smtps-session-test-recv text)
      (should (string-search (concat "recv> " text "\n") (smtps-session-test-text))))))

(ert-deftest smtps-session-test-faces ()
  (smtps-session-test-with
    (pcase-dolist (`(,text . ,face) '(("220 hi" . smtps-session-success)
                                      ("250-x" . smtps-session-success)
                                      ("334 x" . smtps-session-recv)
                                      ("452 no" . smtps-session-refusal)
                                      ("550 no" . smtps-session-refusal)
                                      ("nonsense" . smtps-session-recv)))
      (smtps-session-test-recv text)
      (should (eq (get-text-property (- smtps-session--prompt-start 2) 'face) face)))
    (smtps-session-test-event 'info :text "- TLS")
    (should (eq (get-text-property (- smtps-session--prompt-start 2) 'face)
                'smtps-session-info))
    (smtps-session-test-event 'info :text "! No")
    (should (eq (get-text-property (- smtps-session--prompt-start 2) 'face)
                'smtps-session-refusal))))

(ert-deftest smtps-session-test-a-334-is-decoded ()
  (smtps-session-test-with
    (let (told)
      (cl-letf (((symbol-function 'message)
                 (lambda (format &rest arguments)
                   (push (apply #'format format arguments) told))))
        (smtps-session-test-event 'recv :text "334 VXNlcm5hbWU6" :code 334 :decoded "Username:"
                                  :verb 'auth)
        (smtps-session-test-event 'recv :text "334 VXNlcm5hbWU6" :code 334 :decoded "Username:")
        (smtps-session-test-event 'recv :text "334" :code 334 :decoded "")
        ;; What smtps answers is nobody's to read.
        (smtps-session-test-event 'recv :text "334 cj0x" :code 334 :decoded "r=1"
                                  :verb 'auth :led t)
        (should (equal told '("334 VXNlcm5hbWU6 is “Username:”")))
        (smtps-session-test-event 'recv :text (concat "334 " (make-string 400 ?c))
                                  :code 334 :decoded (make-string 300 ?r) :verb 'auth)
        (should (< 60 (length (car told)) 140))))
    (should (equal (get-text-property (point-min) 'help-echo) "In clear: Username:"))
    (should (string-search "recv> 334\n" (smtps-session-test-text)))))

(ert-deftest smtps-session-test-old-lines-are-dropped-and-told ()
  (let ((smtps-session-maximum-lines 10))
    (smtps-session-test-with
      (smtps-session-test-type "half")
      (smtps-session-test-press "C-b")
      (dotimes (n 100)
        (smtps-session-test-recv (format "250-%d" n)))
      (should (<= (count-lines (point-min) (point-max)) 13))
      (should (string-prefix-p "- 90 older lines were dropped, see smtps-session-maximum-lines\nrecv> " (smtps-session-test-text)))
      (should (= (how-many "older lines" (point-min) (point-max)) 1))
      (should (string-suffix-p "250-99\nsend> half" (smtps-session-test-text)))
      (should (looking-at "f"))
      (smtps-session-test-press "C-/")
      (should (string-suffix-p "250-99\nsend> " (smtps-session-test-text))))))

(ert-deftest smtps-session-test-events-are-acknowledged ()
  (smtps-session-test-with
    (dotimes (_ 40)
      (smtps-session-test-recv "250-x"))
    (should (equal (seq-filter (lambda (call) (eq (car call) 'session-ack))
                               smtps-session-test-calls)
                   '((session-ack :session 1 :seq 32) (session-ack :session 1 :seq 16))))))

(ert-deftest smtps-session-test-events-without-a-buffer-are-acknowledged-too ()
  (smtps-session-test-with-helper
    (dotimes (n 16)
      (smtps-session--event `(:session 7 :seq ,(1+ n) :kind recv :text "250-x" :code 250)))
    (should (assq 'session-ack smtps-session-test-calls))))

;;;; Sending

(ert-deftest smtps-session-test-a-line-is-sent-and-shown-when-it-left ()
  (smtps-session-test-with
    (smtps-session-test-type "ehlo x\r")
    (should (equal (smtps-session-test-sent) '("ehlo x")))
    (should (equal (smtps-session-test-text) "send> "))
    (should-not (smtps-session-test-ring))
    (smtps-session-test-left "ehlo x")
    (should (equal (smtps-session-test-text) "send> ehlo x\nsend> "))
    (should (equal (smtps-session-test-ring) '("ehlo x")))
    (smtps-session-test-press "M-p")
    (should (equal (smtps-session-test-text) "send> ehlo x\nsend> ehlo x"))))

(ert-deftest smtps-session-test-an-empty-line-is-a-line ()
  (smtps-session-test-with
    (smtps-session-test-press "RET")
    (should (equal (smtps-session-test-sent) '("")))
    (smtps-session-test-left "")
    (should (equal (smtps-session-test-text) "send>\nsend> "))
    (should-not (smtps-session-test-ring))))

(ert-deftest smtps-session-test-what-is-typed-goes-out-as-typed ()
  (smtps-session-test-with
    (smtps-session-test-type "Q R é !! \C-q\t\"'\\ \r")
    (should (equal (smtps-session-test-sent) '("Q R é !! \t\"'\\ ")))))

(ert-deftest smtps-session-test-several-lines-at-once ()
  (smtps-session-test-with
    (kill-new "one\r\n\ntwo\n")
    (smtps-session-test-press "C-y RET")
    (should (equal (smtps-session-test-sent) '("one" "" "two")))
    (smtps-session-test-left "one")
    (smtps-session-test-left "")
    (smtps-session-test-left "two")
    (should (equal (smtps-session-test-ring) '("two" "one")))))

(ert-deftest smtps-session-test-a-long-paste-is-given-bit-by-bit ()
  (smtps-session-test-with
    (let ((lines (mapcar #'number-to-string (number-sequence 1 1000))))
      (insert (string-join lines "\n"))
      (smtps-session-test-press "RET")
      (should (<= (length (smtps-session-test-sent)) 64))
      (dolist (line lines)
        (smtps-session-test-left line))
      (should (equal (smtps-session-test-sent) lines))
      (should-not smtps-session--pending))))

(ert-deftest smtps-session-test-typed-before-the-helper-is-up ()
  (smtps-session-test-with-helper
    (setq smtps-session-test-number nil)
    (with-current-buffer (smtps-session "mx.test")
      (smtps-session-test-type "ehlo x\rnoop\r")
      (should-not (smtps-session-test-sent))
      (smtps-session-test-number-is 5)
      (should (equal (smtps-session-test-sent) '("ehlo x" "noop"))))))

(ert-deftest smtps-session-test-what-can-not-be-sent-stays ()
  (smtps-session-test-with
    (dolist (bad (list (string-to-multibyte "a\xe9") (make-string 66000 ?x)))
      (insert "first\n" bad)
      (should-error (smtps-session-test-press "RET") :type 'user-error)
      (should-not (smtps-session-test-sent))
      (should (equal (smtps-session-test-text) (concat "send> first\n" bad)))
      (smtps-session--erase-input))))

(ert-deftest smtps-session-test-what-the-helper-does-not-take-comes-back ()
  (smtps-session-test-with
    (insert "one\ntwo\nthree")
    (smtps-session-test-press "RET")
    (smtps-session-test-left "one")
    (smtps-session-test-type "half")
    (smtps-session--not-taken (car smtps-session--pending) '(smtps-rpc-error "It hangs"))
    (should (equal (smtps-session-test-text)
                   "send> one\n! It hangs\nsend> two\nthree\nhalf"))
    (should (= (point) (point-max)))))

(ert-deftest smtps-session-test-old-lines-can-be-sent-again ()
  (smtps-session-test-with
    (smtps-session-test-left "noop")
    (smtps-session-test-left "<the-base64-password>" t)
    (smtps-session-test-recv "250 ok")
    (goto-char (point-min))
    (smtps-session-test-press "C-c RET")
    (should (string-suffix-p "send> noop" (smtps-session-test-text)))
    (dolist (line '(1 2))
      (goto-char (point-min))
      (forward-line line)
      (should-error (smtps-session-test-press "C-c RET") :type 'user-error))))

(ert-deftest smtps-session-test-quit-by-a-key ()
  (smtps-session-test-with
    (smtps-session-test-press "C-c C-d")
    (should (equal (smtps-session-test-sent) '("quit")))
    (smtps-session-test-left "quit")
    ;; It would be a line of the message, or of a login.
    (smtps-session-test-state 'data nil 0 t)
    (should-error (smtps-session-test-press "C-c C-d") :type 'user-error)
    (smtps-session-test-state 'authenticating 'password)
    (should-error (smtps-session-test-press "C-c C-d") :type 'user-error)
    (should (equal (smtps-session-test-sent) '("quit")))))

(ert-deftest smtps-session-test-keys-of-comint-do-no-harm ()
  (smtps-session-test-with
    (dolist (keys '("C-c C-z" "C-c C-\\" "C-c C-o"))
      (smtps-session-test-press keys))
    (ignore-errors (smtps-session-test-press "C-d"))
    (should smtps-session--number)
    (should (process-live-p (get-buffer-process (current-buffer))))
    (smtps-session-test-type "ab")
    (smtps-session-test-press "C-c C-u")
    (should (equal (smtps-session-test-text) "send> "))))

(ert-deftest smtps-session-test-the-menu-bar-on-a-terminal ()
  "What comint does to a process, and to file names, is not offered by `M-`'."
  (smtps-session-test-with
    (switch-to-buffer (current-buffer))
    (let (tmm-km-list tmm-table-undef)
      (map-keymap (lambda (key binding) (tmm-get-keymap (cons key binding)))
                  (menu-bar-keymap))
      (should (assoc "Session" tmm-km-list))
      (should (assoc "In/Out" tmm-km-list))
      (should-not (assoc "Signals" tmm-km-list))
      (should-not (assoc "Complete" tmm-km-list)))))

(ert-deftest smtps-session-test-takes-the-window ()
  "As M-x shell does; who has said otherwise is obeyed."
  (smtps-session-test-with-helper
    (delete-other-windows)
    (let ((window (selected-window)))
      (should (eq (smtps-session "mx.test:465") (window-buffer window)))
      (should (one-window-p))
      (let ((display-buffer-alist '(("\\`\\*smtps " display-buffer-pop-up-window))))
        (smtps-session "mx.test:465")
        (should-not (eq (selected-window) window))))))

(ert-deftest smtps-session-test-mode-line ()
  (smtps-session-test-with
    (should (equal (smtps-session--mode-line) " opening"))
    (smtps-session-test-state 'ready nil 1)
    (should (equal (smtps-session--mode-line) " ready..."))
    (smtps-session-test-state 'authenticating 'password)
    (should (equal (smtps-session--mode-line) " password?"))
    (smtps-session-test-state 'data nil 0 t)
    (should (equal (smtps-session--mode-line) " DATA"))
    (should (eq (get-text-property smtps-session--prompt-start 'face)
                'smtps-session-prompt-in-data))
    (smtps-session-test-state 'ready nil)
    (should (eq (get-text-property smtps-session--prompt-start 'face)
                'smtps-session-prompt))))

;;;; Secrets

(defun smtps-session-test-hidden ()
  "Return how what is typed is shown: stars for what is hidden."
  (cl-loop for position from (smtps-session--mark) below (point-max)
           concat (or (get-text-property position 'display)
                      (string (char-after position)))))

(defun smtps-session-test-nowhere (secret)
  "Fail if SECRET is anywhere in this buffer, its variables or the history."
  (should-not (string-search secret (smtps-session-test-text)))
  (should-not (string-search secret (format "%S" (buffer-local-variables))))
  (should-not (string-search secret (format "%S" kill-ring))))

(ert-deftest smtps-session-test-login-typed-by-hand ()
  (smtps-session-test-with
    (smtps-session-test-type "auth login\r")
    (smtps-session-test-left "auth login")
    (smtps-session-test-state 'ready 'username 1)
    (smtps-session-test-recv "334 VXNlcm5hbWU6")
    (smtps-session-test-state 'authenticating 'username)
    (smtps-session-test-type "dXNlcg==")
    (should (equal (smtps-session-test-hidden) "dXNlcg=="))
    (smtps-session-test-press "RET")
    ;; Typed before the server has asked, and hidden all the same.
    (smtps-session-test-type "c2Vj")
    (should (equal (smtps-session-test-hidden) "****"))
    (smtps-session-test-left "<the-base64-username>" t)
    (smtps-session-test-state 'authenticating 'password 1)
    (smtps-session-test-recv "334 UGFzc3dvcmQ6")
    (smtps-session-test-state 'authenticating 'password)
    (smtps-session-test-type "cmV0")
    (should (equal (smtps-session-test-hidden) "********"))
    (smtps-session-test-press "RET")
    (smtps-session-test-nowhere "c2Vj")
    ;; What is typed now is no secret any more, whatever comes.
    (smtps-session-test-type "mail")
    (smtps-session-test-left "<the-base64-password>" t)
    (smtps-session-test-state 'authenticating 'password 1)
    (smtps-session-test-recv "235 ok")
    (smtps-session-test-state 'ready nil)
    (should (equal (smtps-session-test-hidden) "mail"))
    (should (equal (smtps-session-test-sent) '("auth login" "dXNlcg==" "c2VjcmV0")))
    (should (equal (smtps-session-test-ring) '("auth login")))
    (should (equal (smtps-session-test-text)
                   (concat "send> auth login\nrecv> 334 VXNlcm5hbWU6\n"
                           "send> <the-base64-username>\nrecv> 334 UGFzc3dvcmQ6\n"
                           "send> <the-base64-password>\nrecv> 235 ok\nsend> mail")))
    ;; Who it was is proposed the next time.
    (should (equal (smtps-session-last-name "mx.test" 465) "user"))))

(ert-deftest smtps-session-test-who-logs-in-by-plain-is-noted ()
  (smtps-session-test-with
    (smtps-session-test-type
     (concat "Auth plain " (smtps-base64-auth-plain "one" "secret") "\r"))
    (should (equal (smtps-session-last-name "mx.test" 465) "one"))
    (smtps-session-test-left "Auth plain <the-encoded-auth-credentials>" t)
    (smtps-session-test-state 'authenticating 'credentials)
    (smtps-session-test-type (concat (smtps-base64-auth-plain "zwei\u00e4" "secret") "\r"))
    (should (equal (smtps-session-last-name "mx.test" 465) "zweiä"))
    (should-not (string-search "secret" (prin1-to-string smtps-session--names)))))

(ert-deftest smtps-session-test-a-login-typed-ahead-is-in-no-history ()
  (smtps-session-test-with
    (insert "auth login\ndXNlcg==\nc2VjcmV0")
    (smtps-session-test-press "RET")
    (smtps-session-test-left "auth login")
    (smtps-session-test-state 'ready 'username 1)
    (smtps-session-test-recv "334 VXNlcm5hbWU6")
    (smtps-session-test-state 'authenticating 'username)
    (smtps-session-test-left "<the-base64-username>" t)
    (smtps-session-test-left "<the-base64-password>" t)
    (should (equal (smtps-session-test-ring) '("auth login")))
    (smtps-session-test-nowhere "c2VjcmV0")
    (smtps-session-test-nowhere "dXNlcg==")))

(ert-deftest smtps-session-test-a-half-typed-line-becomes-a-secret ()
  (smtps-session-test-with
    (smtps-session-test-type "c2Vj")
    (should (equal (smtps-session-test-hidden) "c2Vj"))
    (smtps-session-test-state 'authenticating 'password)
    (should (equal (smtps-session-test-hidden) "****"))
    (kill-new "x")
    (smtps-session-test-press "C-c C-u")
    (smtps-session-test-nowhere "c2Vj")))

(ert-deftest smtps-session-test-what-stands-behind-auth-is-hidden ()
  (smtps-session-test-with
    (smtps-session-test-type "AUTH Plain ")
    (smtps-session-test-type "AHUA")
    (should (equal (smtps-session-test-hidden) "AUTH Plain ****"))
    (insert "\nehlo x\nauth login dXNl")
    (should (equal (smtps-session-test-hidden)
                   "AUTH Plain ****\nehlo x\nauth login ****"))
    (kill-new "x")
    (smtps-session-test-press "C-c C-u")
    (smtps-session-test-nowhere "AHUA")
    ;; Typed before the word that makes it one.
    (insert "plain AHUA")
    (goto-char (smtps-session--mark))
    (smtps-session-test-type "auth ")
    (should (equal (smtps-session-test-hidden) "auth plain ****"))
    (goto-char (smtps-session--mark))
    (smtps-session-test-press "C-d")
    (should (equal (smtps-session-test-hidden) "uth plain AHUA"))
    (smtps-session-test-press "C-e C-c C-u")
    ;; A line of a mail is none of SMTP's.
    (smtps-session-test-state 'data nil 0 t)
    (smtps-session-test-type "auth plain and simple")
    (should (equal (smtps-session-test-hidden) "auth plain and simple"))))

(ert-deftest smtps-session-test-a-login-that-is-pasted-is-hidden ()
  (let ((kill-ring nil))
    (pcase-dolist (`(,pasted ,seen)
                   '(("auth login\ndXNl\nc2Vj" "auth login\n****\n****")
                     ("noop\nAUTH PLAIN\nAHVw\nmail from:<a@b.c>"
                      "noop\nAUTH PLAIN\n****\nmail from:<a@b.c>")
                     ("auth login dXNl\n\nc2Vj" "auth login ****\n\n****")
                     ("auth login\nauth plain AHVw" "auth login\nauth plain ****")
                     ("noop\nrset" "noop\nrset")))
      (smtps-session-test-with
        (switch-to-buffer (current-buffer))
        (smtps-session-test-state 'ready nil)
        (insert pasted)
        (should (equal (smtps-session-test-hidden) seen))
        ;; Whatever line of it is changed.
        (smtps-session-test-type "eA")
        (should (equal (smtps-session-test-hidden)
                       (concat seen (if (string-suffix-p "*" seen) "**" "eA"))))
        (smtps-session-test-press "C-c C-u")
        (should (equal (smtps-session-test-text) "send> "))
        (should-not (string-search "c2Vj" (format "%S" kill-ring)))
        (should-not (string-search "AHVw" (format "%S" kill-ring)))))
    ;; What has nothing hidden can be yanked.
    (should (equal (car kill-ring) "noop\nrseteA"))))

(ert-deftest smtps-session-test-the-string-of-auth-plain-at-the-prompt ()
  "Where AUTH was not typed, it comes before the string, which is hidden there."
  (pcase-dolist (`(,typed ,due ,seen)
                 '(("" nil "auth plain ****") ("auth plain " nil "auth plain ****")
                   ("auth plain" nil "auth plain ****") ("  " nil "  auth plain ****") ("noop\n" nil "noop\nauth plain ****")
                   ("auth plain\n" nil "auth plain\n****")
                   ("" credentials "****") ("" response "****")))
    (smtps-session-test-with
      (switch-to-buffer (current-buffer))
      (smtps-session-test-state 'ready nil)
      (when due
        (smtps-session-test-state 'authenticating due))
      (insert typed)
      (cl-letf (((symbol-function 'read-string) (lambda (&rest _) "u"))
                ((symbol-function 'smtps-credentials-read)
                 (lambda (&rest _) (copy-sequence "p"))))
        (call-interactively #'smtps-base64-auth-plain))
      (should (equal (replace-regexp-in-string "\\*+" "****" (smtps-session-test-hidden))
                     seen))
      (should (string-suffix-p "AHUAcA==" (smtps-session-test-text))))))

(ert-deftest smtps-session-test-the-server-does-not-wait-for-the-password ()
  (smtps-session-test-with
    (smtps-session-test-state 'authenticating 'password)
    (smtps-session-test-type "c2VjcmV0")
    (smtps-session-test-recv "535 too slow")
    (smtps-session-test-state 'ready nil)
    (should (equal (smtps-session-test-text)
                   (concat "recv> 535 too slow\n! The server no longer waits for the password: "
                           "what you had typed was erased, not sent.\nsend> ")))
    (smtps-session-test-nowhere "c2VjcmV0")
    (should-error (smtps-session-test-press "C-/") :type 'user-error)
    (smtps-session-test-nowhere "c2VjcmV0")))

(ert-deftest smtps-session-test-the-password-crosses-the-refusal ()
  (smtps-session-test-with
    (smtps-session-test-state 'authenticating 'password)
    (smtps-session-test-type "c2VjcmV0\r")
    ;; The helper had it as a command: the server had just given up.
    (smtps-session-test-left "c2VjcmV0")
    (should (string-match-p "\\`send> <typed as the password" (smtps-session-test-text)))
    (should-not (smtps-session-test-ring))
    (smtps-session-test-nowhere "c2VjcmV0")))

(ert-deftest smtps-session-test-what-the-helper-does-not-send ()
  "A login in clear is withheld once, with what was typed behind it."
  (smtps-session-test-with
    (smtps-session-test-state 'ready nil)
    (insert "auth plain AHUAcA==\nnoop\nrset")
    (smtps-session-test-press "RET")
    (smtps-session-test-event 'info :text "! This was not sent: without TLS..." :unsent t)
    (smtps-session-test-state 'ready nil)
    (should-not smtps-session--pending)
    (smtps-session-test-nowhere "AHUAcA==")
    (smtps-session-test-type "auth plain AHUAcA==\r")
    (smtps-session-test-left "auth plain <the-encoded-auth-credentials>" t)
    (should-not smtps-session--pending)
    (should (equal (seq-count (lambda (line) (string-prefix-p "auth" line))
                              (smtps-session-test-sent))
                   2))
    (should-not (smtps-session-test-ring))
    (should (string-suffix-p "! This was not sent: without TLS...
send> auth plain <the-encoded-auth-credentials>\nsend> "
                             (smtps-session-test-text)))))

(ert-deftest smtps-session-test-closed-with-a-half-typed-password ()
  (smtps-session-test-with
    (smtps-session-test-state 'authenticating 'password)
    (smtps-session-test-type "c2VjcmV0")
    (smtps-session-test-event 'closed :text "- Peer has closed the TLS connection")
    (smtps-session-test-nowhere "c2VjcmV0")))

(ert-deftest smtps-session-test-closed-with-a-login-typed-ahead ()
  (smtps-session-test-with
    (insert "noop\nauth login\ndXNlcg==\nc2VjcmV0")
    (smtps-session-test-press "RET")
    (smtps-session-test-event 'closed :text "- Peer has closed the TLS connection")
    (should (string-match-p "! Not sent, and not kept: 3 typed lines of a login\\."
                            (smtps-session-test-text)))
    (should (string-suffix-p "keeps it\nnoop" (smtps-session-test-text)))
    (smtps-session-test-nowhere "c2VjcmV0")))

(ert-deftest smtps-session-test-a-star-cancels-and-is-no-secret ()
  (smtps-session-test-with
    (smtps-session-test-state 'authenticating 'password)
    (smtps-session-test-type "*\r")
    (smtps-session-test-left "*")
    (should (equal (smtps-session-test-text) "send> *\nsend> "))))

(ert-deftest smtps-session-test-base64-from-a-key ()
  (smtps-session-test-with
    (let ((press (lambda (&rest words)
                   (execute-kbd-macro
                    (apply #'vconcat (kbd "C-c C-b")
                           (mapcan (lambda (word) (list word (kbd "RET"))) words)))
                   (smtps-session-test-left "<something>" t))))
      (funcall press "Grüße")
      (smtps-session-test-state 'authenticating 'username)
      (funcall press "me@a.test")
      (smtps-session-test-state 'authenticating 'password)
      (funcall press "pässwörd")
      (smtps-session-test-state 'authenticating 'credentials)
      (funcall press "u" "p")
      (should (equal (mapcar #'smtps-base64-decode-string (smtps-session-test-sent))
                     '("Grüße" "me@a.test" "pässwörd" "\0u\0p")))
      (should-not (string-match-p "Grüße" (format "%S" minibuffer-history))))))

(ert-deftest smtps-session-test-base64-asks-for-a-password-unseen ()
  (smtps-session-test-with
    (smtps-session-test-state 'authenticating 'password)
    (let ((password (copy-sequence "secret")))
      (cl-letf (((symbol-function 'read-passwd) (lambda (&rest _) password)))
        (smtps-session-test-press "C-c C-b"))
      (should (equal (smtps-session-test-sent) '("c2VjcmV0")))
      (should-not (string-search "secret" password))
      (smtps-session-test-nowhere "c2VjcmV0"))))

(ert-deftest smtps-session-test-the-server-gives-up-while-the-password-is-read ()
  (smtps-session-test-with
    (let ((buffer (current-buffer)))
      (smtps-session-test-state 'authenticating 'password)
      (cl-letf (((symbol-function 'read-passwd)
                 (lambda (&rest _)
                   (with-current-buffer buffer
                     (smtps-session-test-recv "535 too slow")
                     (smtps-session-test-state 'ready nil))
                   (copy-sequence "secret"))))
        (should-error (smtps-session-test-press "C-c C-b") :type 'user-error))
      (should-not (smtps-session-test-sent)))))

;;;; The end

(ert-deftest smtps-session-test-base64-at-point-is-shown-by-a-key ()
  (smtps-session-test-with
    (smtps-session-test-recv "334 VXNlcm5hbWU6")
    (smtps-session-test-recv "334 not-it!")
    (goto-char (point-min))
    (search-forward "334 V")
    (let (told)
      (cl-letf (((symbol-function 'message)
                 (lambda (format &rest arguments)
                   (push (apply #'format format arguments) told))))
        (smtps-session-test-press "C-c C-y"))
      (should (equal told '("“Username:”"))))
    (search-forward "not")
    (should-error (smtps-session-test-press "C-c C-y") :type 'user-error)))

(ert-deftest smtps-session-test-the-documented-closing-line ()
  (smtps-session-test-with
    (smtps-session-test-event 'closed :text "- Peer has closed the TLS connection")
    (should (equal (smtps-session-test-text)
                   (concat "recv> - Peer has closed the TLS connection\n"
                           "- The session is closed; g connects again\n")))
    (should buffer-read-only)))

(ert-deftest smtps-session-test-what-is-typed-into-a-closed-session-stays ()
  (smtps-session-test-with
    (smtps-session-test-type "mail from:<a@b.c>\rhalf")
    (smtps-session-test-event 'closed :text "x" :error 'timed-out :message "It hung.")
    (should (equal (smtps-session-test-text)
                   (concat "! It hung.\n- The session is closed; "
                           "what follows was not sent, g connects again and keeps it\n"
                           "mail from:<a@b.c>\nhalf")))
    (dolist (keys '("RET" "C-c C-b" "C-c C-c" "C-c C-d"))
      (should-error (smtps-session-test-press keys) :type 'user-error))
    (should (string-suffix-p "half" (smtps-session-test-text)))
    (smtps-session-test-press "g")
    (should (string-suffix-p "\nsend> mail from:<a@b.c>\nhalf" (smtps-session-test-text)))
    (smtps-session-test-press "RET")
    (should (equal (last (smtps-session-test-sent) 2) '("mail from:<a@b.c>" "half")))))

(ert-deftest smtps-session-test-g-is-a-letter-while-open ()
  (smtps-session-test-with
    (smtps-session-test-type "g")
    (should (equal (smtps-session-test-text) "send> g"))
    (should-error (smtps-session-reconnect) :type 'user-error)))

(ert-deftest smtps-session-test-q-puts-a-closed-session-away ()
  (smtps-session-test-with
    (let ((buffer (current-buffer)))
      (smtps-session-test-event 'closed :text "- Peer has closed the TLS connection")
      (smtps-session-test-press "q")
      (should-not (eq (window-buffer) buffer))
      (should (buffer-live-p buffer)))))

(ert-deftest smtps-session-test-the-helper-dies-and-g-connects-again ()
  (smtps-session-test-with-helper
    (let ((one (smtps-session "one.test"))
          (two (smtps-session "two.test")))
      (run-hook-with-args 'smtps-helper-death-functions "The smtps helper has ended")
      (dolist (buffer (list one two))
        (with-current-buffer buffer
          (should (equal (smtps-session-test-text)
                         (concat "! The smtps helper has ended\n"
                                 "- The session is closed; g connects again\n")))))
      (switch-to-buffer one)
      (goto-char (point-min))
      (smtps-session-test-press "g")
      (should (equal (cdr (assq 'session-open smtps-session-test-calls))
                     '(:host "one.test" :port 465 :tls nil :ca-file nil)))
      (smtps-session-test-type "noop\r")
      (should (equal (car smtps-session-test-calls)
                     '(session-send :session 3 :line "noop"))))))

(ert-deftest smtps-session-test-what-a-dead-helper-had-may-have-been-sent ()
  (smtps-session-test-with
    (smtps-session-test-type "ehlo x\rnoop\r")
    (smtps-session-test-left "ehlo x")
    (run-hook-with-args 'smtps-helper-death-functions "The smtps helper has ended")
    (should (equal (smtps-session-test-text)
                   (concat "send> ehlo x\n! The smtps helper has ended\n"
                           "! The helper had taken 1 typed line, and may have sent it.\n"
                           "- The session is closed; what follows is kept when g connects again\n"
                           "noop")))))

(ert-deftest smtps-session-test-the-rest-of-a-word-is-no-command ()
  (smtps-session-test-with
    (smtps-session-test-type "data lo")
    (smtps-session-test-event 'closed :text "- Peer has closed the TLS connection")
    (let ((executing-kbd-macro nil))
      (dolist (key '("g" "q"))
        (should (eq (key-binding key) 'smtps-session-ignore-letter)))
      (setq smtps-session--typed-at (- (float-time) smtps-session--typing-seconds))
      (should (eq (key-binding "g") 'smtps-session-reconnect))
      (should (eq (key-binding "q") 'quit-window))
      ;; A word may go on with other letters.
      (should (eq (key-binding "x") 'smtps-session-ignore-letter))
      (let (told)
        (cl-letf (((symbol-function 'message)
                   (lambda (format &rest arguments)
                     (setq told (apply #'format format arguments)))))
          (smtps-session-ignore-letter)
          (should (equal told "The session is closed: g connects again, q puts it away"))))
      (should (eq (key-binding "g") 'smtps-session-ignore-letter)))))

(ert-deftest smtps-session-test-a-helper-that-ended-just-now ()
  (smtps-session-test-with
    (smtps-session-test-type "noop")
    (cl-letf (((symbol-function 'smtps-helper-live-p) #'ignore))
      (should-error (smtps-session-test-press "RET") :type 'user-error))
    (should-not (smtps-session-test-sent))
    (should (string-suffix-p "noop" (smtps-session-test-text)))))

(ert-deftest smtps-session-test-no-helper ()
  (smtps-session-test-with-helper
    (cl-letf (((symbol-function 'smtps-helper-call)
               (lambda (_method _args &rest keys)
                 (funcall (plist-get keys :else)
                          '(smtps-helper-missing "There is no python3.")))))
      (with-current-buffer (smtps-session "mx.test")
        (should (string-prefix-p "! There is no python3.\n- The session is closed"
                                 (smtps-session-test-text)))))))

(ert-deftest smtps-session-test-hanging-up ()
  (smtps-session-test-with
    (smtps-session-test-state 'greeting nil 1)
    (smtps-session-test-press "C-c C-c")
    (should (equal (car smtps-session-test-calls) '(session-close :session 1)))
    (smtps-session-test-event 'closed :text "- The session was closed")
    (should (string-prefix-p "- You have hung up\n" (smtps-session-test-text)))))

(ert-deftest smtps-session-test-hanging-up-asks-if-nothing-is-waited-for ()
  (smtps-session-test-with
    (smtps-session-test-state 'ready nil 0)
    (smtps-session-test-press "C-c C-c n")
    (should-not (assq 'session-close smtps-session-test-calls))
    (smtps-session-test-press "C-c C-c y")
    (should (assq 'session-close smtps-session-test-calls))))

(ert-deftest smtps-session-test-hanging-up-before-the-helper-is-up ()
  (smtps-session-test-with-helper
    (setq smtps-session-test-number nil)
    (with-current-buffer (smtps-session "mx.test")
      (smtps-session-test-type "ehlo x\rhalf")
      (smtps-session-test-press "C-c C-c")
      (should (equal (smtps-session-test-text)
                     (concat "- You have hung up\n"
                             "- The session is closed; what follows was not sent, "
                             "g connects again and keeps it\n"
                             "ehlo x\nhalf")))
      (should-not (assq 'session-close smtps-session-test-calls))
      ;; A number that comes later is not that of the next session.
      (let ((late (alist-get 'session-open smtps-session-test-keys)))
        (smtps-session-test-press "g")
        (funcall (plist-get late :then) '(:session 5))
        (should (equal (car smtps-session-test-calls) '(session-close :session 5)))
        (funcall (plist-get late :else) '(smtps-helper-dead "Late."))
        (should-not smtps-session--number)
        (should (equal (smtps-session-test-text)
                       (concat "- You have hung up\n"
                               "- The session is closed; what follows was not sent, "
                               "g connects again and keeps it\n"
                               "send> ehlo x\nhalf")))
        (smtps-session-test-number-is 6)
        (should (eql smtps-session--number 6))))))

(ert-deftest smtps-session-test-killing-the-buffer-hangs-up ()
  (smtps-session-test-with
    (kill-buffer)
    (should (equal (car smtps-session-test-calls) '(session-close :session 1)))
    (should-not smtps-session--buffers))
  (smtps-session-test-with-helper
    (setq smtps-session-test-number nil)
    (let ((buffer (smtps-session "mx.test")))
      (kill-buffer buffer)
      (smtps-session-test-number-is 5)
      (should (equal (car smtps-session-test-calls) '(session-close :session 5))))))

;;;; With the real helper

(defconst smtps-session-test-seconds 20
  "Seconds that anything may take.")

(defmacro smtps-session-test-until (condition)
  "Wait until CONDITION is true, and fail if that takes too long."
  (declare (debug t))
  `(let ((end (+ (float-time) smtps-session-test-seconds)))
     (while (not (or ,condition (> (float-time) end)))
       (accept-process-output nil 0.02))
     (unless ,condition
       (ert-fail (list "Not within the time" ',condition (smtps-session-test-text))))))

(defun smtps-session-test-shown-p (text)
  "Return non-nil if the last line above the prompt begins with TEXT."
  (save-excursion
    (goto-char smtps-session--prompt-start)
    (forward-line -1)
    (looking-at-p (regexp-quote text))))

(defun smtps-session-test-say (line reply)
  "Type LINE and wait for REPLY, the beginning of a line."
  (let ((from (marker-position smtps-session--prompt-start)))
    (smtps-session-test-type (concat line "\r"))
    (smtps-session-test-until (and (> smtps-session--prompt-start from)
                                   (smtps-session-test-shown-p reply)))))

(defmacro smtps-session-test-with-sandbox (&rest body)
  "Run BODY with the real helper and the real sandbox.
Its report, a plist, is the variable `sandbox'."
  (declare (indent 0) (debug t))
  `(let* ((smtps-accounts nil)
          (directory (make-temp-file "smtps-session" t))
          (told "")
          (process (make-process
                    :name "sandbox" :noquery t :connection-type 'pipe
                    :command (append (smtps-helper-program)
                                     (list "sandbox" "--report" "sexp" "--directory" directory))
                    :filter (lambda (_process text) (setq told (concat told text))))))
     (save-window-excursion
       (unwind-protect
           (progn
             (smtps-session-test-until (string-suffix-p "\n" told))
             (let ((sandbox (cdr (smtps-wire-read (string-trim-right told)))))
               ,@body))
         (smtps-session-test-clean)
         (smtps-helper-stop)
         ;; Killed, it would leave files behind.
         (signal-process process 'SIGTERM)
         (smtps-session-test-until (not (process-live-p process)))
         (delete-directory directory t)))))

(defun smtps-session-test-mail (sandbox)
  "Return the one mail that came to SANDBOX, as text."
  (let ((mails (directory-files (expand-file-name "new" (plist-get sandbox :maildir))
                                t "\\`[^.]")))
    (should (= (length mails) 1))
    (with-temp-buffer
      (insert-file-contents (car mails))
      (buffer-string))))

(ert-deftest smtps-session-test-the-documented-dialogue ()
  (smtps-session-test-with-sandbox
    (with-current-buffer (smtps-session "localhost" (plist-get sandbox :port)
                                        :tls 'implicit :ca-file (plist-get sandbox :ca-file))
      (smtps-session-test-until (smtps-session-test-shown-p "recv> 220"))
      (smtps-session-test-say "ehlo localhost.localdomain" "recv> 250 SIZE")
      (smtps-session-test-say "auth login" "recv> 334 VXNlcm5hbWU6")
      (execute-kbd-macro (vconcat (kbd "C-c C-b") (plist-get sandbox :user) (kbd "RET")))
      (smtps-session-test-until (smtps-session-test-shown-p "recv> 334 UGFzc3dvcmQ6"))
      (execute-kbd-macro (vconcat (kbd "C-c C-b") (plist-get sandbox :password) (kbd "RET")))
      (smtps-session-test-until (smtps-session-test-shown-p "recv> 235"))
      (smtps-session-test-say "mail from:<from-address@poste.it>" "recv> 250 MAIL FROM:")
      (smtps-session-test-say "rcpt to:<to-address@other-host.it>" "recv> 250 RCPT TO:")
      (smtps-session-test-say "data" "recv> 354")
      (kill-new "From: <from-address@poste.it>\nSubject: Grüße\n\n..\nMarco\n")
      (smtps-session-test-press "C-y RET")
      (smtps-session-test-until (smtps-session-test-shown-p "send> Marco"))
      (should (equal (smtps-session--mode-line) " DATA"))
      (smtps-session-test-say "." "recv> 250")
      (smtps-session-test-until (not smtps-session--data))
      (smtps-session-test-press "C-c C-d")
      (smtps-session-test-until (not (smtps-session--open-p)))
      (should (string-match-p "\nrecv> - Peer has closed the TLS connection\n- The session"
                              (smtps-session-test-text)))
      (should (string-match-p "Subject: Grüße\n\n\\.\nMarco\n"
                              (smtps-session-test-mail sandbox)))
      (dolist (secret (list (smtps-base64-encode-string (plist-get sandbox :user))
                            (smtps-base64-encode-string (plist-get sandbox :password))))
        (should-not (string-search secret (smtps-session-test-text)))
        (dolist (buffer (buffer-list))
          (should-not (with-current-buffer buffer
                        (string-search secret (buffer-string)))))))))

(ert-deftest smtps-session-test-the-documented-dialogue-with-starttls ()
  (smtps-session-test-with-sandbox
    (with-current-buffer (smtps-session "localhost" (plist-get sandbox :starttls-port)
                                        :tls 'starttls :ca-file (plist-get sandbox :ca-file))
      (smtps-session-test-until (smtps-session-test-shown-p "recv> 220"))
      (smtps-session-test-say "ehlo localhost.localdomain" "recv> 250 PIPELINING")
      (smtps-session-test-say "starttls" "- Handshake was completed")
      (smtps-session-test-say "ehlo localhost.localdomain" "recv> 250 PIPELINING")
      (smtps-session-test-say "auth plain" "recv> 334")
      (smtps-session-test-until (eq (smtps-session--due) 'credentials))
      (execute-kbd-macro (vconcat (kbd "C-c C-b") (plist-get sandbox :user) (kbd "RET")
                                  (plist-get sandbox :password) (kbd "RET")))
      (smtps-session-test-until (smtps-session-test-shown-p "recv> 235"))
      (smtps-session-test-say "quit" "- The session is closed"))))

(ert-deftest smtps-session-test-a-wrong-password-then-the-right-one ()
  (smtps-session-test-with-sandbox
    (with-current-buffer (smtps-session "localhost" (plist-get sandbox :port)
                                        :tls 'implicit :ca-file (plist-get sandbox :ca-file))
      (let ((login (lambda (password)
                     (concat "auth plain "
                             (smtps-base64-auth-plain (plist-get sandbox :user) password)))))
        (smtps-session-test-until (smtps-session-test-shown-p "recv> 220"))
        (smtps-session-test-say "ehlo x" "recv> 250 ")
        (smtps-session-test-say (funcall login "wrong") "recv> 535")
        (smtps-session-test-say (funcall login (plist-get sandbox :password)) "recv> 235")
        (should (equal (smtps-session-test-ring) '("ehlo x")))))))

(ert-deftest smtps-session-test-the-real-helper-is-killed ()
  (smtps-session-test-with-sandbox
    (with-current-buffer (smtps-session "localhost" (plist-get sandbox :port)
                                        :tls 'implicit :ca-file (plist-get sandbox :ca-file))
      (smtps-session-test-until (smtps-session-test-shown-p "recv> 220"))
      (smtps-session-test-type "half")
      (signal-process (smtps-rpc-peer-process smtps-helper--peer) 'SIGKILL)
      (smtps-session-test-until (not (smtps-session--open-p)))
      (should (string-match-p "\n! The smtps helper [^\n]*\n- The session is closed; what follows"
                              (smtps-session-test-text)))
      (smtps-session-test-press "g")
      (smtps-session-test-until (smtps-session-test-shown-p "recv> 220"))
      ;; It is not seen whether it was sent.
      (signal-process (smtps-rpc-peer-process smtps-helper--peer) 'SIGSTOP)
      (smtps-session-test-press "RET")
      (signal-process (smtps-rpc-peer-process smtps-helper--peer) 'SIGKILL)
      (smtps-session-test-until (not (smtps-session--open-p)))
      (should (string-match-p
               (concat "\n! The smtps helper [^\n]*\n"
                       "! The helper had taken 1 typed line, and may have sent it\\.\n"
                       "- The session is closed; what follows is kept [^\n]*\nhalf\\'")
               (smtps-session-test-text)))
      (smtps-session-test-press "g")
      (smtps-session-test-until (smtps-session-test-shown-p "recv> 220"))
      (smtps-session-test-press "C-a C-k")
      (smtps-session-test-say "quit" "- The session is closed"))))

(ert-deftest smtps-session-test-untrusted ()
  (smtps-session-test-with-sandbox
    (with-current-buffer (smtps-session "localhost" (plist-get sandbox :port) :tls 'implicit)
      (smtps-session-test-type "ehlo x\r")
      (smtps-session-test-until (not (smtps-session--open-p)))
      (should (string-match-p "^! .*certificate" (smtps-session-test-text)))
      ;; Nothing was sent, and nothing is lost.
      (should-not (string-match-p "^send>" (smtps-session-test-text)))
      (should (string-suffix-p "\nehlo x" (smtps-session-test-text))))))

;;;; With a server of this Emacs's

(defmacro smtps-session-test-with-server (greeting &rest body)
  "Run BODY with the real helper and a server in clear that says GREETING.
The server is the variable `server', its connection its `client' property."
  (declare (indent 1) (debug t))
  `(let* ((smtps-accounts nil)
          (server (make-network-process
                   :name "server" :server t :host "127.0.0.1" :service t
                   :family 'ipv4 :noquery t :coding 'binary
                   :log (lambda (server client _message)
                          (process-put server 'client client)
                          (process-send-string client ,greeting)))))
     (save-window-excursion
       (unwind-protect
           (progn ,@body)
         (smtps-session-test-clean)
         (smtps-helper-stop)
         (when (process-get server 'client)
           (delete-process (process-get server 'client)))
         (delete-process server)))))

(ert-deftest smtps-session-test-nobody-listens ()
  (smtps-session-test-with-server ""
    (let ((port (process-contact server :service)))
      (delete-process server)
      (with-current-buffer (smtps-session "127.0.0.1" port :tls 'none)
        (smtps-session-test-until (not (smtps-session--open-p)))
        (should (string-match-p "^! [^\n]+\n- The session is closed"
                                (smtps-session-test-text)))))))

(ert-deftest smtps-session-test-no-such-host ()
  (smtps-session-test-with-server ""
    (with-current-buffer (smtps-session "no-such-host.invalid")
      (smtps-session-test-type "ehlo x\r")
      (smtps-session-test-until (not (smtps-session--open-p)))
      (should (string-match-p "^! [^\n]*no-such-host\\.invalid[^\n]*\n- The session is closed"
                              (smtps-session-test-text)))
      (should (string-suffix-p "\nehlo x" (smtps-session-test-text))))))

(ert-deftest smtps-session-test-clear-text-on-the-port-of-tls ()
  (smtps-session-test-with-server "220 hi\r\n"
    (with-current-buffer (smtps-session "localhost" (process-contact server :service)
                                        :tls 'implicit)
      (smtps-session-test-until (not (smtps-session--open-p)))
      (should (string-match-p "^! localhost answers in clear text[^\n]+--tls starttls[^\n]+\n- The session is closed"
                              (smtps-session-test-text))))))

(ert-deftest smtps-session-test-a-server-that-never-speaks ()
  (smtps-session-test-with-server ""
    (with-current-buffer (smtps-session "127.0.0.1" (process-contact server :service) :tls 'none)
      (smtps-session-test-type "ehlo x\rhalf")
      (smtps-session-test-until (eq smtps-session-state 'greeting))
      (smtps-session-test-press "C-c C-c")
      (smtps-session-test-until (not (smtps-session--open-p)))
      (should (string-match-p "\n- You have hung up\n- The session is closed; [^\n]+\nehlo x\nhalf\\'"
                              (smtps-session-test-text))))))

(ert-deftest smtps-session-test-closed-in-the-middle ()
  (smtps-session-test-with-server "220 hi\r\n"
    (with-current-buffer (smtps-session "127.0.0.1" (process-contact server :service) :tls 'none)
      (smtps-session-test-until (smtps-session-test-shown-p "recv> 220"))
      (smtps-session-test-type "ehlo x\r")
      (smtps-session-test-until (smtps-session-test-shown-p "send> ehlo x"))
      (smtps-session-test-type "mail from:<a@b.c>\rhalf")
      (delete-process (process-get server 'client))
      (smtps-session-test-until (not (smtps-session--open-p)))
      (should (string-match-p
               (concat "\n\\(?:recv> - Peer has closed\\|! \\)[^\n]+\n"
                       "- The session is closed; [^\n]+\nmail from:<a@b.c>\nhalf\\'")
               (smtps-session-test-text))))))

(defmacro smtps-session-test-stopped (&rest body)
  "Evaluate BODY in a session that was greeted, whose helper is stopped."
  (declare (indent 0) (debug t))
  `(let ((smtps-helper-alive-seconds 1))
     (smtps-session-test-with-server "220 hi\r\n"
       (with-current-buffer (smtps-session "127.0.0.1" (process-contact server :service)
                                           :tls 'none)
         (smtps-session-test-until (smtps-session-test-shown-p "recv> 220"))
         (smtps-session-test-until (not smtps-helper--asked))
         (let ((process (smtps-rpc-peer-process smtps-helper--peer)))
           (signal-process process 'SIGSTOP)
           (unwind-protect
               (progn ,@body)
             (signal-process process 'SIGCONT)))))))

(ert-deftest smtps-session-test-the-helper-hangs ()
  (smtps-session-test-stopped
    (smtps-session-test-type "noop\r")
    (smtps-session-test-until (not (smtps-session--open-p)))
    (should (string-match-p
             (concat "\n! The smtps helper hangs: [^\n]+\n"
                     "! The helper had taken 1 typed line, and may have sent it\\.\n"
                     "- The session is closed; ")
             (smtps-session-test-text)))
    (smtps-session-test-press "g")
    (smtps-session-test-until (smtps-session-test-shown-p "recv> 220"))))

(ert-deftest smtps-session-test-a-server-that-says-odd-things ()
  (smtps-session-test-with-server
      (encode-coding-string
       "220-\e[31mred\e[0m\0\r\n220-\u202edlrow\r\n220-#.(kill-emacs)\r\n220-caf\xe9\r\n220 Enter your mail password: \r\n"
       'raw-text)
    (with-current-buffer (smtps-session "127.0.0.1" (process-contact server :service) :tls 'none)
      (smtps-session-test-until (smtps-session-test-shown-p "recv> 220 Enter"))
      (let ((text (smtps-session-test-text)))
        (should (string-search "recv> 220-^[[31mred^[[0m^@\n" text))
        (should (string-search "recv> 220-#.(kill-emacs)\n" text))
        (should-not (string-match-p "[\0-\t\v-\37\177\u202e]" text))
        (should (string-suffix-p "\nsend> " text))))))

(ert-deftest smtps-session-test-a-server-that-floods ()
  (let ((smtps-session-maximum-lines 500)
        (flood (apply #'concat (make-list 5000 "250-This line is one of very many, all alike.\r\n"))))
    (smtps-session-test-with-server "220 hi\r\n"
      (with-current-buffer (smtps-session "127.0.0.1" (process-contact server :service) :tls 'none)
        (smtps-session-test-until (smtps-session-test-shown-p "recv> 220"))
        (smtps-session-test-type "ehlo x\rhalf")
        (let* ((longest 0)
               (last (float-time))
               (timer (run-at-time 0 0.01 (lambda ()
                                            (let ((now (float-time)))
                                              (setq longest (max longest (- now last))
                                                    last now))))))
          (unwind-protect
              (progn
                (set-process-filter (process-get server 'client) #'ignore)
                (process-send-string (process-get server 'client) flood)
                (process-send-string (process-get server 'client) "250 end\r\n")
                (smtps-session-test-until (smtps-session-test-shown-p "recv> 250 end")))
            (cancel-timer timer))
          (message "flood: longest pause %d ms" (round (* 1000 longest))))
        (should (< (count-lines (point-min) (point-max)) 560))
        (should (string-suffix-p "send> half" (smtps-session-test-text)))))))

;; The long form, with its figures, is tests/bench/flood.
(ert-deftest smtps-session-test-ten-servers-flood-at-once ()
  (let* ((smtps-session-maximum-lines 200)
         (flood (apply #'concat (make-list 500 "250-One of many.\r\nX\r\n")))
         clients buffers)
    (smtps-session-test-with-server "220 hi\r\n"
      (let ((port (process-contact server :service)))
        (delete-process server)
        (setq server (make-network-process
                      :name "server" :server t :host "127.0.0.1" :service port
                      :family 'ipv4 :noquery t :coding 'binary
                      :log (lambda (_server client _message)
                             (push client clients)
                             (set-process-filter
                              client (lambda (client _text)
                                       (set-process-filter client #'ignore)
                                       (process-send-string client flood)
                                       (process-send-string client "250 end\r\n")))
                             (process-send-string client "220 hi\r\n"))))
        (unwind-protect
            (progn
              (dotimes (_ 10)
                (push (smtps-session "127.0.0.1" port :tls 'none) buffers))
              (dolist (buffer buffers)
                (pop-to-buffer-same-window buffer)
                (smtps-session-test-until (smtps-session-test-shown-p "recv> 220 hi"))
                (smtps-session-test-type "noop\rhalf"))
              (dolist (buffer buffers)
                (with-current-buffer buffer
                  (smtps-session-test-until (smtps-session-test-shown-p "recv> 250 end"))
                  (should (< (count-lines (point-min) (point-max)) 230))
                  (should (< (length smtps-session--told) 101))
                  (should (string-match-p "\\`- [0-9]+ older lines were dropped"
                                          (smtps-session-test-text)))
                  (should (string-suffix-p "send> half" (smtps-session-test-text))))))
          (mapc #'delete-process clients))))))

(ert-deftest smtps-session-test-hanging-up-while-a-server-floods ()
  (let ((flood (apply #'concat (make-list 5000 "250-One of many.\r\n"))))
    (smtps-session-test-with-server "220 hi\r\n"
      (with-current-buffer (smtps-session "127.0.0.1" (process-contact server :service)
                                          :tls 'none)
        (smtps-session-test-until (smtps-session-test-shown-p "recv> 220"))
        (smtps-session-test-type "noop\rhalf")
        (smtps-session-test-until (= smtps-session--owed 1))
        (set-process-filter (process-get server 'client) #'ignore)
        (process-send-string (process-get server 'client) flood)
        (smtps-session-test-until (smtps-session-test-shown-p "recv> 250-One"))
        (smtps-session-test-press "C-c C-c")
        (smtps-session-test-until (not (smtps-session--open-p)))
        (should (string-suffix-p "- You have hung up
- The session is closed; what follows was not sent, g connects again and keeps it
half"
                                 (smtps-session-test-text)))
        (smtps-session-test-press "g")
        (smtps-session-test-until (string-suffix-p "recv> 220 hi\nsend> half"
                                                   (smtps-session-test-text)))))))

;;;; In every state

(defconst smtps-session-test-states
  '((opening "" "")
    (greeting "" "")
    (ready "recv> 220 hi" "")
    (waiting "send> noop" "noop\r")
    (username "recv> 334 VXNlcm5hbWU6" "auth login\r")
    (password "recv> 334 UGFzc3dvcmQ6" "auth login\rdQ==\r")
    (mail "recv> 250 mail" "mail from:<>\r")
    (data "recv> 354" "data\r")
    (login "send> AUTH PLAIN" "\3\1")
    (transaction "send> RCPT TO:<a@x.org>" "\3\24smtps mail\r\r\r"))
  "States of a session: what is shown when it is there, and the keys that lead there.")

(defun smtps-session-test-answer (client text)
  "Answer TEXT of CLIENT, line by line."
  (dolist (line (split-string (downcase text) "\r\n" t))
    (let ((reply (cdr (assoc line '(("ehlo" . "250-me\r\n250 AUTH PLAIN LOGIN")
                                    ("mail from:<" . "250 mail")
                                    ("auth login" . "334 VXNlcm5hbWU6")
                                    ("dq==" . "334 UGFzc3dvcmQ6")
                                    ("data" . "354 go on")
                                    ("quit" . "221 bye"))
                              (lambda (key line) (string-prefix-p key line))))))
      (when reply
        (process-send-string client (concat reply "\r\n"))))))

(defmacro smtps-session-test-in-each-state (&rest body)
  "Run BODY in a session in each state, the state in the variable `state'.
The line half typed is \"half\"; where it is a secret, it is not to be kept."
  (declare (indent 0) (debug t))
  `(pcase-dolist (`(,state ,shown ,keys) smtps-session-test-states)
     (ert-info ((format "In the state %s" state))
       (smtps-session-test-with-server
           (if (memq state '(opening greeting)) "" "220 hi\r\n")
         (set-process-filter server #'smtps-session-test-answer)
         (with-current-buffer (get-buffer-create "smtps mail")
           (erase-buffer)
           (insert "From: me@x.org\nTo: a@x.org\nSubject: x\n\nx\n"))
         (let* ((authinfo (make-temp-file
                           "smtps-authinfo" nil nil
                           (format "machine 127.0.0.1 port %d login u password p\n"
                                   (process-contact server :service))))
                (auth-sources (list authinfo))
                auth-source-do-cache)
           (with-current-buffer (smtps-session "127.0.0.1" (process-contact server :service)
                                               :tls 'none)
             (unless (eq state 'opening)
               (smtps-session-test-until (not smtps-session--opening)))
             (unless (memq state '(opening greeting))
               (smtps-session-test-until (smtps-session-test-shown-p "recv> 220 hi")))
             (when (eq state 'login)
               (smtps-session-test-type "ehlo x\r"))
             (smtps-session-test-type keys)
             (smtps-session-test-until (smtps-session-test-shown-p shown))
             (smtps-session-test-type "half")
             ,@body)
           (delete-file authinfo))
         (kill-buffer "smtps mail")))))

(defun smtps-session-test-closed-and-again (state)
  "See that the session, which was in STATE, says it is closed; connect again by g."
  (smtps-session-test-until (not (smtps-session--open-p)))
  (should (string-match-p "^- The session is closed; .*g connects again"
                          (smtps-session-test-text)))
  (should (= (how-many "session is closed" (point-min) (point-max)) 1))
  (let ((kept (not (memq state '(username password)))))
    (should (eq kept (string-suffix-p "\nhalf" (smtps-session-test-text))))
    (smtps-session-test-press "g")
    (smtps-session-test-until (eq smtps-session-state
                                  (if (memq state '(opening greeting)) 'greeting
                                    'greeted)))
    (should (string-suffix-p (if kept "\nsend> half" "\nsend> ")
                             (smtps-session-test-text)))))

(ert-deftest smtps-session-test-the-helper-is-killed-in-each-state ()
  (smtps-session-test-in-each-state
    (smtps-session-test-until (smtps-helper-live-p))
    (signal-process (smtps-rpc-peer-process smtps-helper--peer) 'SIGKILL)
    (smtps-session-test-closed-and-again state)
    (should (= (how-many "^! The smtps helper " (point-min) (point-max)) 1))
    (should (= (how-many "^! .* may have been done" (point-min) (point-max))
               (if (memq state '(login transaction)) 1 0)))))

(ert-deftest smtps-session-test-hanging-up-in-each-state ()
  (smtps-session-test-in-each-state
    (cl-letf (((symbol-function 'y-or-n-p) (lambda (&rest _) t)))
      (smtps-session-test-press "C-c C-c"))
    (smtps-session-test-closed-and-again state)
    (should (= (how-many "^- You have hung up" (point-min) (point-max)) 1))
    (should (= (how-many "^! " (point-min) (point-max))
               (if (memq state '(username password)) 1 0)))))

(ert-deftest smtps-session-test-hanging-up-on-a-helper-that-hangs ()
  (smtps-session-test-stopped
    (smtps-session-test-type "half")
    (cl-letf (((symbol-function 'y-or-n-p) (lambda (&rest _) t)))
      (smtps-session-test-press "C-c C-c"))
    (smtps-session-test-closed-and-again 'ready)))

(ert-deftest smtps-session-test-quitting-in-each-state ()
  (smtps-session-test-in-each-state
    (smtps-session-test-press "C-c C-u")
    (if (memq state '(username password data))
        (progn
          (should-error (smtps-session-test-press "C-c C-d") :type 'user-error)
          (should (smtps-session--open-p)))
      (smtps-session-test-press "C-c C-d")
      (when (memq state '(ready mail))
        (smtps-session-test-until (smtps-session-test-shown-p "recv> 221 bye")))
      (unless (memq state '(ready mail))
        (should (equal (mapcar #'car smtps-session--pending) '("quit")))))))

(ert-deftest smtps-session-test-what-is-hidden-is-not-killed ()
  (smtps-session-test-with
    (let ((kill-ring nil) (secret "hush"))
      (smtps-session-test-type (concat "auth plain " secret))
      (dolist (keys '("C-a C-k" "C-/ C-x h M-w" "M-DEL"))
        (smtps-session-test-press keys)
        (should-not (string-search secret (format "%S" kill-ring))))
      (should (string-search "auth plain " (format "%S" kill-ring)))
      (smtps-session-test-press "C-c C-u")
      (smtps-session-test-state 'authenticating 'password)
      (smtps-session-test-type secret)
      (smtps-session-test-press "C-a C-k")
      (should (equal (buffer-substring (smtps-session--mark) (point-max)) ""))
      (should-not (string-search secret (format "%S" kill-ring)))
      ;; Nor does undo bring it to where it is seen.
      (smtps-session-test-state 'ready nil)
      (ignore-errors (smtps-session-test-press "C-/"))
      (should-not (string-search secret (smtps-session-test-text))))))

(provide 'smtps-session-test)
;;; smtps-session-test.el ends here
